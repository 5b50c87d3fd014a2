"""Table of published weight files: address, checksum, kind, licence and source of each.

A checksum is the published SHA-256 in hexadecimal: all 64 digits (from the address, or of a file in
the publisher's own repository), the first eight digits (from the file name), or "" if none is
published. The cache records the full SHA-256 of the first download.
"""

import dataclasses

_RAW = "https://raw.githubusercontent.com"  # serves the files of a repository at a given commit


@dataclasses.dataclass(frozen=True)
class Published:
    """One published file, which PyTorch wrote.

    Attributes:
      name: the name for `weights.load`.
      file: the file name in the cache; the publisher's name, unless that is ambiguous.
      url: the download address.
      checksum: the published SHA-256, or its first eight digits, or "".
      licence: the licence of the weights.
      source: the repository of the program that uses the file.
    """

    name: str
    file: str
    url: str
    checksum: str
    licence: str
    source: str


def by_name(name: str) -> Published:
    """Returns the published file called `name`."""
    if name not in PUBLISHED:
        raise ValueError(
            f"no weights are called {name!r}; there are {', '.join(sorted(PUBLISHED))}"
        )
    return PUBLISHED[name]


def _inception() -> list[Published]:
    """Inception of 2015-12-05, which defines FID and IS, in two ports: identical files with different names."""
    github, port = "https://github.com", "inception-2015-12-05-6726825d.pth"
    return [
        Published(
            name="inception_2015_12_05_pytorch_fid",
            file=f"pt_{port}",
            url=f"{github}/mseitzer/pytorch-fid/releases/download/fid_weights/pt_{port}",
            checksum="6726825d",
            licence="Apache-2.0",
            source="mseitzer/pytorch-fid",
        ),
        Published(
            name="inception_2015_12_05_torch_fidelity",
            file=f"weights-{port}",
            url=f"{github}/toshas/torch-fidelity/releases/download/v0.2.0/weights-{port}",
            checksum="6726825d",
            licence="Apache-2.0",
            source="toshas/torch-fidelity",
        ),
    ]


def _torchvision() -> list[Published]:
    """The classifiers that LPIPS and perceptual losses use."""
    stems = {
        "vgg16": "vgg16-397923af",
        "vgg19": "vgg19-dcbb9e9d",
        "alexnet": "alexnet-owt-7be5be79",
        "squeezenet1_1": "squeezenet1_1-b8a52dc0",
    }
    return [
        Published(
            name=name,
            file=f"{stem}.pth",
            url=f"https://download.pytorch.org/models/{stem}.pth",
            checksum=stem.rsplit("-", 1)[1],
            licence="BSD-3-Clause",
            source="pytorch/vision",
        )
        for name, stem in stems.items()
    ]


def _lpips() -> list[Published]:
    """The linear heads of LPIPS, version 0.1."""
    repository = "richzhang/PerceptualSimilarity"
    commit = "082bb24f84c091ea94de2867d34c4544f68e0963"
    checksums = {
        "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        "squeeze": "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    }
    return [
        Published(
            name=f"lpips_{net}",
            file=f"lpips_v0.1_{net}.pth",
            url=f"{_RAW}/{repository}/{commit}/lpips/weights/v0.1/{net}.pth",
            checksum=checksum,
            licence="BSD-2-Clause",
            source=repository,
        )
        for net, checksum in checksums.items()
    ]


def _cifar10() -> list[Published]:
    """CIFAR-10 classifiers of He et al., "Deep residual learning", 2015, Section 4.2."""
    repository = "akamaster/pytorch_resnet_cifar10"
    commit = "d5489e8995e81e91ce6b1d69dcc98ad579b0b153"
    checksums = {
        "resnet20": "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8",
        "resnet56": "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367",
    }
    return [
        Published(
            name=f"cifar10_{net}",
            file=f"{net}-{checksum[:8]}.th",
            url=f"{_RAW}/{repository}/{commit}/pretrained_models/{net}-{checksum[:8]}.th",
            checksum=checksum,
            licence="BSD-2-Clause",
            source=repository,
        )
        for net, checksum in checksums.items()
    ]


def _dinov2() -> list[Published]:
    """DINOv2 backbones, without and with register tokens; no checksum is published."""
    return [
        Published(
            name=f"dinov2_vit{size}14{registers}",
            file=f"dinov2_vit{size}14{registers}_pretrain.pth",
            url="https://dl.fbaipublicfiles.com/dinov2/"
            f"dinov2_vit{size}14/dinov2_vit{size}14{registers}_pretrain.pth",
            checksum="",
            licence="Apache-2.0",
            source="facebookresearch/dinov2",
        )
        for registers in ("", "_reg4")
        for size in "sblg"
    ]


def _clip() -> list[Published]:
    """CLIP's vision transformers (with their text towers), as TorchScript archives."""
    checksums = {
        "ViT-B-32": "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        "ViT-B-16": "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f",
        "ViT-L-14": "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        "ViT-L-14-336px": "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
    }
    return [
        Published(
            name=f"clip_{stem.lower().replace('-', '_')}",
            file=f"{stem}.pt",
            url=f"https://openaipublic.azureedge.net/clip/models/{checksum}/{stem}.pt",
            checksum=checksum,
            licence="MIT",
            source="openai/CLIP",
        )
        for stem, checksum in checksums.items()
    ]


PUBLISHED: dict[str, Published] = {
    entry.name: entry
    for family in (_inception, _torchvision, _lpips, _cifar10, _dinov2, _clip)
    for entry in family()
}
