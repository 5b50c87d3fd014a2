"""The README's table of systems: a row for each model, from its docstring and those of its configs."""

from __future__ import annotations

import inspect
import re

import model_pages

from jaxgan import models

HEADS = ("System", "Configs", "Paper", "Published result", "Cost of the first config")
SCORE = re.compile(
    r"\b(?:r?FID|IS|mIoU)\b[^,;.(]*? \d+\.\d+|Inception scores? of \d+\.\d+ to \d+\.\d+"
)
# What the Chinese README's table translates; names of systems and papers stay.
CHINESE = {
    **dict(zip(HEADS, ("系统", "配置", "论文", "已发表的结果", "第一个配置的开销"), strict=True)),
    "The original GAN": "原始 GAN",
    "BigGAN and BigGAN-deep": "BigGAN 与 BigGAN-deep",
    "StyleGAN2 with adaptive discriminator augmentation (ADA)": "StyleGAN2，带自适应判别器增强（ADA）",
    "WGAN with weight clipping": "WGAN，带权重裁剪",
    "none": "无",
}
AMOUNTS = {"a": "一", "a few": "几", "two": "两", "three": "三", "four": "四", "five": "五"}
AMOUNTS |= {"six": "六", "seven": "七", "eight": "八", "nine": "九", "ten": "十"}
COST = re.compile(rf"(about )?({'|'.join(AMOUNTS)}) minutes? on two (busy )?CPU cores")


def paper(model: str) -> str:
    """Authors and year of the paper that the docstring names first.

    >>> paper("sngan"), paper("dcgan")
    ('Miyato et al. 2018', 'Radford, Metz and Chintala 2016')
    """
    docstring = " ".join((inspect.getdoc(models.load(model)) or "").split())
    found = re.search(r"Papers?: ([^\"]+? \d{4})", docstring)
    if found is None:
        raise ValueError(f"the docstring of jaxgan.models.{model} needs 'Paper: AUTHORS YEAR'.")
    return found[1]


def result(configs: list[model_pages.ConfigPage]) -> str:
    """The first published score of a model's configs, of those of CIFAR-10 if they have one."""
    for of in sorted(configs, key=lambda of: not of.name.endswith("_cifar10")):
        found = SCORE.search(of.get("Published"))
        if found:
            return f"{found[0]} (`{of.name}`)"
    return "none"


def rows() -> list[tuple[str, ...]]:
    found = []
    for model in models.names():
        configs = model_pages.configs_of(model)
        names = ", ".join(f"`{of.name}`" for of in configs)
        cost = re.split(r"[.;(]", configs[0].get("Cost"))[0].strip()
        title = model_pages.title(model)
        cells = (title, names, paper(model), result(configs), cost)
        found.append(cells)
    return found


def in_chinese(cell: str) -> str:
    """A cell of the Chinese table; what it has no Chinese for stays English.

    >>> in_chinese("about four minutes on two CPU cores"), in_chinese("SAGAN")
    ('两个 CPU 核上约四分钟', 'SAGAN')
    """
    cost = COST.fullmatch(cell)
    if cost:
        about, amount, busy = cost.groups()
        cores = "两个繁忙的 CPU 核" if busy else "两个 CPU 核"
        return f"{cores}上{'约' if about else ''}{AMOUNTS[amount]}分钟"
    cell = re.sub(r"Inception scores of ([\d.]+) to", r"Inception 分数 \1 至", cell)
    return CHINESE.get(cell, cell)


def table(cells: list[tuple[str, ...]]) -> str:
    """Rows, of which the first is the head, as Markdown."""
    head, *others = cells
    lines = [head, ["---"] * len(head), *others]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def block() -> str:
    return table([HEADS, *rows()])


def chinese_block() -> str:
    return table([tuple(map(in_chinese, cells)) for cells in (HEADS, *rows())])
