"""Tar files of pictures, as WebDataset writes them: read at random, never extracted."""

import io
import os
import tarfile

import numpy as np
import pytest

from jaxgan.data import Pipeline, encoded, folder, open_source, write
from jaxgan.data.encoded import BadData, BadLabels
from jaxgan.data.folder import files


@pytest.fixture
def save_tar(tmp_path, png):
    """save_tar("00000.tar", {"a.png": seed or bytes, ...}) writes a tar; its path."""

    def save(name, members, mode="w"):
        path = tmp_path / "set" / name
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, mode) as tar:
            for member, content in members.items():
                data = content if isinstance(content, bytes) else png(pixels(content))
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return path

    return save


def pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)


@pytest.fixture
def shards(save_tar):
    """Two shards of two pictures with labels each, and with files that are no pictures; their folder."""
    for shard in (0, 1):
        members = {}
        for i in (2 * shard, 2 * shard + 1):
            members |= {f"{i:06d}.png": i, f"{i:06d}.cls": f"{(3, 0, 1, 1)[i]}\n".encode()}
            members[f"{i:06d}.json"] = b"{}"
        path = save_tar(f"{shard:05d}.tar", members)
    return path.parent


def test_shards_with_labels(shards, both_ways):
    source = open_source("folder", path=str(shards))
    assert source.spec.shape == (6, 6, 3)
    assert source.in_memory == (both_ways == "in memory")
    assert source.spec.num_classes == 4
    batch = source.gather(np.array([3, 0, 2]))
    assert batch["label"].tolist() == [1, 3, 1]
    for image, seed in zip(batch["image"], (3, 0, 2), strict=True):
        np.testing.assert_array_equal(image, pixels(seed))
    assert source.summary.startswith(f"folder {shards}: 4 pictures")


def test_a_single_tar_has_the_identity_of_the_unpacked_folder(shards, tmp_path):
    one = open_source("folder", path=str(shards / "00000.tar"))
    assert len(one) == 2
    with tarfile.open(shards / "00000.tar") as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    unpacked = open_source("folder", path=str(tmp_path / "unpacked"))
    assert unpacked.identity == one.identity
    assert unpacked.spec == one.spec


def test_nothing_but_the_member_is_read(shards, monkeypatch):
    """Opening one picture reads its bytes alone, however large the tar."""
    entries = files(folder.Options(path=str(shards)))
    with entries.read(1) as file:
        data = file.read()
    assert len(data) == entries.size(1)
    assert data.startswith(b"\x89PNG")
    assert entries.stamp(0) != entries.stamp(1)


def test_many_threads_may_read_at_once(shards, monkeypatch):
    monkeypatch.setattr(encoded, "CACHE_BYTES", 0)
    monkeypatch.setattr("jaxgan.data.pipeline.usable_cores", lambda: 8)
    batches = Pipeline(open_source("folder", path=str(shards)), seed=0).iterate(0, 4)
    try:
        for _ in range(50):
            found = {image.tobytes() for image in next(batches)["image"]}
            assert found == {pixels(seed).tobytes() for seed in range(4)}
    finally:
        batches.close()


def test_they_can_be_prepared(shards, tmp_path):
    write(open_source("folder", path=str(shards)), tmp_path / "prepared")
    records = open_source("records", path=str(tmp_path / "prepared"))
    assert records.gather(np.arange(4))["label"].tolist() == [3, 0, 1, 1]


def test_folders_in_a_tar_are_classes(save_tar):
    path = save_tar("pets.tar", {"pets/cat/a.png": 0, "pets/dog/b.png": 1})
    assert open_source("folder", path=str(path)).classes == ("cat", "dog")


def test_paths_that_lead_out_are_ignored(save_tar, tmp_path, caplog):
    path = save_tar("x.tar", {"a.png": 0, "../../x.png": 1, "/etc/y.png": 2, "b/../../z.png": 3})
    source = open_source("folder", path=str(path))
    assert len(source) == 1
    assert "ignored files whose path leads out of their archive: ../../x.png" in caplog.text
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["set", "x.tar"]  # nothing is extracted


def test_links_and_devices_are_ignored(save_tar):
    path = save_tar("x.tar", {"a.png": 0})
    with tarfile.open(path, "a") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"{kind.decode()}.png")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    assert len(open_source("folder", path=str(path))) == 1


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_a_compressed_tar_is_refused(save_tar, mode):
    path = save_tar("x.tar", {"a.png": 0}, mode)
    with pytest.raises(BadData, match=r"x.tar is not a complete uncompressed tar .*unpack it if"):
        open_source("folder", path=str(path))


@pytest.mark.parametrize("keep", [0.3, 0.7])
def test_a_truncated_tar_is_refused(save_tar, keep):
    path = save_tar("x.tar", {"a.bin": b"0" * 5000, "b.png": 0, "c.bin": bytes(20_000)})
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(BadData, match=r"x\.tar .*copy it again"):
        open_source("folder", path=str(path))


def test_two_tars_with_the_same_name(save_tar):
    path = save_tar("0.tar", {"a.png": 0})
    save_tar("1.tar", {"a.png": 1})
    with pytest.raises(BadData, match=r"0.tar and .*1.tar both hold a.png.*give one of them alone"):
        open_source("folder", path=str(path.parent))
    assert len(open_source("folder", path=str(path))) == 1  # the way out


def test_a_tar_beside_pictures_is_no_part_of_the_set(save_tar, png):
    path = save_tar("backup.tar", {"a.png": 0})
    (path.parent / "b.png").write_bytes(png(pixels(1)))
    assert files(folder.Options(path=str(path.parent))).names == ["b.png"]


class TestLabelsBeside:
    def test_in_a_folder(self, save_pictures):
        root, _ = save_pictures("x/a.png", "y/b.v2.png")
        (root / "x" / "a.cls").write_text("2")
        (root / "y" / "b.cls").write_text("0")
        source = open_source("folder", path=str(root))
        assert source.gather(np.arange(2))["label"].tolist() == [2, 0]
        assert (source.spec.num_classes, source.classes) == (3, ())

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("cat", r'the label of a.png in its .cls file is "cat", but a class is a whole number'),
            ("-1", "the label of a.png in its .cls file is -1, but"),
            (None, r"a.png has no label in a file .cls beside it; add these labels"),
        ],
    )
    def test_what_is_no_label(self, save_pictures, text, message):
        root, _ = save_pictures("a.png", "b.png")
        (root / "b.cls").write_text("1")
        if text is not None:
            (root / "a.cls").write_text(text)
        with pytest.raises(BadLabels, match=message) as e:
            open_source("folder", path=str(root))
        assert len(open_source("folder", path=str(root), **e.value.fixes[0])) == 2
