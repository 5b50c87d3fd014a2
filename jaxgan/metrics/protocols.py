"""Named protocols: all settings that affect the value of a score, under one name.

Differences between published scores have few causes: different reals, counts, resizing, features
or numbers of neighbours. A protocol fixes them all. Two results are comparable only if their
protocols agree, which `jaxgan.metrics.compare` checks.
"""

import dataclasses
import difflib

# Incremented whenever a change of the code changes the scores of the same pictures under the same protocol.
NUMBERS = 1

# The default protocols for samples, for transforms and for translations. They use fewer examples if there are fewer.
DEFAULT = "quick"
DEFAULT_OF_TRANSFORMS = "reconstruction"
DEFAULT_OF_TRANSLATIONS = "translation"
DEFAULTS = (DEFAULT, DEFAULT_OF_TRANSFORMS, DEFAULT_OF_TRANSLATIONS)

# The fields of a `Protocol` that count the parts of a set or its neighbours, and their least values.
COUNTS = {"nearest_k": 1, "density_k": 1, "splits": 1, "subsets": 1, "subset_size": 2}

# The latent spaces and places of path lengths, and the parts of pictures that they compare.
SPACES = ("z", "w")
SAMPLING = ("full", "end")
CROPS = ("none", "faces")
LPIPS = "lpips_vgg"  # in place of features: a distance of two pictures

# Kinds of generated examples: samples, transforms of real examples (reconstructions, translations of pairs), or
# translations of real examples to another domain: by the domain alone, or also guided by a latent or by a reference.
TRANSLATIONS = ("translations", "latent", "reference")
OF = ("samples", "transforms", *TRANSLATIONS)


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The settings of an evaluation: scores, features and numbers of examples.

    Attributes:
      name: the name of the protocol in results; "custom" for a custom one.
      scores: names of `jaxgan.metrics.scores.SCORES`.
      features: the feature network, one of `jaxgan.nets.features`, or "random_conv", "pixels",
        "points", which need no download; for path lengths also `LPIPS`; "segmenter" for label maps.
      num_fake: number of generated examples.
      num_real: number of real examples; None for the whole split. For transforms, equal to `num_fake`.
      split: the split of the real data.
      of: the kind of generated examples, one of `OF`.
      per_example: for translations: number of generated examples of each real one, to one other domain each.
      resize: "tf1", "clean" or "torch"; None for the default of the features.
      nearest_k: k of precision and recall (Kynkäänniemi et al. 2019: 3).
      density_k: k of density and coverage (Naeem et al. 2020: 5).
      splits: number of splits of the class score (Salimans et al. 2016: 10).
      subsets, subset_size: subsets of the kernel distance (Bińkowski et al. 2018: 100 of 1,000).
      space: the latent space of path lengths and of separability, one of `SPACES`.
      sampling: "full" for path lengths at any place of a path, "end" at its start.
      crop: "faces" for path lengths of the middle of portraits, as in StyleGAN's for FFHQ, or "none".
      ignored: labels whose pixels in the given maps are not counted.
      source: the publication or program that uses this protocol.
    """

    name: str
    scores: tuple[str, ...]
    features: str = "inception"
    num_fake: int = 50_000
    num_real: int | None = None
    split: str = "train"
    of: str = "samples"
    per_example: int = 1
    resize: str | None = None
    nearest_k: int = 3
    density_k: int = 5
    splits: int = 10
    subsets: int = 100
    subset_size: int = 1000
    space: str = "z"
    sampling: str = "full"
    crop: str = "none"
    ignored: tuple[int, ...] = ()
    source: str = ""


_TABLE = (
    Protocol(
        "fid50k_train",
        ("fd",),
        source="Heusel et al. 2017; NVIDIA's fid50k_full",
    ),
    Protocol("fid10k_test", ("fd",), num_fake=10_000, split="test", source="compare_gan, SAGAN"),
    Protocol(
        "fid5k_test",
        ("fd",),
        num_fake=5_000,
        split="test",
        source="Miyato et al. 2018 (SN-GAN): 5,000 samples",
    ),
    Protocol(
        "clean_fid50k_train",
        ("fd",),
        resize="clean",
        source="Parmar et al. 2022 (clean-fid)",
    ),
    Protocol(
        "is50k_10splits", ("class",), source="Salimans et al. 2016: 10 splits of 5,000 samples"
    ),
    Protocol("kid50k_train", ("kd",), source="Bińkowski et al. 2018; torch-fidelity's subsets"),
    Protocol(
        "sfid50k_train", ("sfd",), source="Nash et al. 2021; guided-diffusion's spatial features"
    ),
    Protocol(
        "fid_infinity50k_train",
        ("fd_infinity", "fd"),
        source="Chong & Forsyth 2020: extrapolated to infinitely many samples",
    ),
    Protocol(
        "intra_fid50k_train",
        ("classwise",),
        source="Miyato & Koyama 2018 (intra-FID): the mean over classes; 5,000 of each of 10",
    ),
    Protocol(
        "probe10k_test",
        ("probe",),
        num_fake=10_000,
        split="test",
        source="after Ravuri & Vinyals 2019 (CAS), with a linear probe in place of their ResNet-50",
    ),
    Protocol(
        "swd16k_train",
        ("swd",),
        features="pixels",
        num_fake=16_384,
        num_real=16_384,
        source="Karras et al. 2018 (progressive growing): 16,384 of each",
    ),
    Protocol(
        "ms_ssim10k",
        ("ms_ssim",),
        features="pixels",
        num_fake=10_000,
        source="Odena et al. 2017: 100 pairs within each class",
    ),
    Protocol(
        "pr50k_train",
        ("pr",),
        features="vgg16",
        num_real=50_000,
        source="Kynkäänniemi et al. 2019: VGG-16, k = 3, 50,000 of each",
    ),
    Protocol(
        "prdc10k_train",
        ("pr", "dc"),
        num_fake=10_000,
        num_real=10_000,
        nearest_k=5,
        source="Naeem et al. 2020: k = 5, 10,000 of each",
    ),
    Protocol(
        "fd_dinov2_50k_train",
        ("fd",),
        features="dinov2_vitl14",
        source="Stein et al. 2023 (FD-DINOv2): 50,000 samples, ViT-L/14",
    ),
    Protocol(
        "all50k_train",
        ("fd", "sfd", "kd", "class", "pr", "dc"),
        num_real=50_000,
        source="every score of one pass through Inception; precision and recall in its features",
    ),
    Protocol(
        "rfid50k_validation",
        ("fd", "psnr", "ssim"),
        num_real=50_000,
        split="validation",
        of="transforms",
        source="Esser et al. 2021 (VQGAN): reconstructions of ImageNet's validation set against itself",
    ),
    Protocol(
        "rfid10k_test",
        ("fd", "psnr", "ssim"),
        num_fake=10_000,
        num_real=10_000,
        split="test",
        of="transforms",
        source="jaxgan: reconstruction FID of 10,000 held-out pictures, as CIFAR-10 has",
    ),
    Protocol(
        "reconstruction",
        ("psnr", "ssim", "l1", "fd"),
        features="random_conv",
        num_fake=5_000,
        num_real=5_000,
        of="transforms",
        source="jaxgan: no download; compares each transform with its target picture",
    ),
    Protocol(
        "label_maps",
        ("label_maps",),
        features="segmenter",
        num_fake=5_000,
        num_real=5_000,
        split="test",
        of="transforms",
        source="after Park et al. 2019 (SPADE): labels recovered by a segmenter from a file; scores of different"
        " segmenters are not comparable",
    ),
    Protocol(
        "translation",
        ("fd", "l1"),
        features="random_conv",
        num_fake=5_000,
        num_real=5_000,
        of="translations",
        source="jaxgan: no download; translations to other domains in turn, against all real pictures, and how much a"
        " translation changes",
    ),
    Protocol(
        "translation_domains",
        ("classwise", "l1"),
        features="random_conv",
        num_fake=5_000,
        of="translations",
        source="jaxgan: no download; as translation, but against the real pictures of each target domain",
    ),
    Protocol(
        "styles",
        ("classwise", "diversity_l1", "l1"),
        features="random_conv",
        num_fake=5_000,
        of="latent",
        per_example=10,
        source="jaxgan: no download; ten translations of each picture to one other domain (--of reference for styles of"
        " references)",
    ),
    *(
        Protocol(
            f"stargan2_{guide}",
            ("classwise", "diversity_lpips_alex"),
            num_fake=30_000,
            of=guide,
            per_example=10,
            source=f"after Choi et al. 2020 (StarGAN v2, {guide}-guided): ten translations of each picture; there each"
            " picture is translated to every domain, pictures and references are of the test set, the distances are"
            " means over pairs of domains, and Inception is torchvision's",
        )
        for guide in ("latent", "reference")
    ),
    Protocol(
        "single_image_fid",
        ("single_image",),
        num_fake=50,
        source="after Shaham et al. 2019 (SinGAN), in the original Inception: the mean over 50 samples of one picture",
    ),
    Protocol(
        "single_image",
        ("single_image",),
        features="random_conv",
        num_fake=50,
        source="jaxgan: no download; the mean over 50 samples of one picture; not SIFID",
    ),
    *(
        Protocol(
            f"ppl_{space}_{sampling}{'' if crop == 'none' else '_faces'}",
            ("path_length",),
            features="lpips_vgg",
            num_fake=100_000,
            space=space,
            sampling=sampling,
            crop=crop,
            source=f"Karras et al. 2019 (StyleGAN): 100,000 paths in {space}"
            + (", of portraits cropped to the face" if crop == "faces" else ""),
        )
        for crop in CROPS
        for space in SPACES
        for sampling in SAMPLING
    ),
    *(
        Protocol(
            f"separability_{space}",
            ("separability",),
            features="cifar10_resnet56",
            num_fake=20_000,
            space=space,
            source="after Karras et al. 2019 (StyleGAN), with CIFAR-10's classes in place of 40 attributes of faces",
        )
        for space in SPACES
    ),
    Protocol(
        "eq_t50k",
        ("eq_t",),
        features="points",
        source="Karras et al. 2021 (StyleGAN3): translations by whole pixels, up to an eighth of the side",
    ),
    Protocol(
        "eq_t_frac50k",
        ("eq_t_frac",),
        features="points",
        source="Karras et al. 2021 (StyleGAN3): translations by any distance up to an eighth of the side",
    ),
    Protocol(
        "eq_r50k",
        ("eq_r",),
        features="points",
        source="after Karras et al. 2021 (StyleGAN3): rotations by any angle, compared in a disc of frequencies",
    ),
    Protocol(
        "quick",
        ("fd", "pr"),
        features="random_conv",
        num_fake=5_000,
        num_real=5_000,
        source="jaxgan: no download; ranks runs on one data set; not FID",
    ),
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _TABLE}


def by_name(name: str) -> Protocol:
    """Returns the protocol called `name`, one of `PROTOCOLS`.

    >>> by_name("fid10k_test").num_fake
    10000
    """
    if name not in PROTOCOLS:
        close = difflib.get_close_matches(name, PROTOCOLS, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(PROTOCOLS)}"
        raise ValueError(f"no protocol is called {name!r}; {hint}")
    return PROTOCOLS[name]


def adapted(protocol: Protocol | str, **changes) -> Protocol:
    """Returns the protocol with changed fields; its name is "custom" if any value differs.

    >>> adapted("fid10k_test", num_fake=500).name, adapted("fid10k_test", num_fake=10_000).name
    ('custom', 'fid10k_test')
    """
    if isinstance(protocol, str):
        protocol = by_name(protocol)
    changed = dataclasses.replace(protocol, **changes)
    return (
        protocol if changed == protocol else dataclasses.replace(changed, name="custom", source="")
    )


def fitted(protocol: Protocol, **changes) -> Protocol:
    """Returns a default protocol as its data require: with changed fields, and under the same name.

    >>> fitted(by_name("quick"), num_fake=500).name, fitted(by_name("fid10k_test"), num_fake=500).name
    ('quick', 'custom')
    """
    if protocol.name not in DEFAULTS:
        return adapted(protocol, **changes)
    return dataclasses.replace(protocol, **changes)
