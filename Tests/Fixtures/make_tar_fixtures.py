# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/DataSetsTests/Fixtures/tars/: tar files of every format that Python writes, as webdataset and
img2dataset lay them out. The contents of images are their names: reading does not decode them.

Run by hand:  python Tests/Fixtures/make_tar_fixtures.py      (standard library only)
"""

import io
import json
import pathlib
import tarfile

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "DataSetsTests" / "Fixtures" / "tars"
LONG = "a" * 120 + "/" + "b" * 130


def add(tar, name, content, **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in attributes.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content))


def image(tar, name):
    add(tar, name, name.encode())


def samples(tar):
    """A caption in txt, one in json, none, a long name, a second dot, a folder, members of one name apart."""
    add(tar, "shard", b"", type=tarfile.DIRTYPE)
    image(tar, "shard/000.jpg")
    add(tar, "shard/000.txt", " a red\ncircle \n".encode())
    image(tar, "shard/001.png")
    add(tar, "shard/001.json", json.dumps({"caption": "a blue square", "width": 3}).encode())
    add(tar, "shard/002.json", json.dumps({"text": ["one", "two"]}).encode())
    image(tar, "shard/002.webp")
    image(tar, "shard/003.jpg")
    image(tar, f"{LONG}.jpg")
    add(tar, f"{LONG}.txt", "a long name".encode())
    image(tar, "cat.v2.jpg")
    add(tar, "cat.txt", b"a cat")
    image(tar, "apart.jpg")
    add(tar, "link.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
    add(tar, ".hidden.jpg", b"x")
    image(tar, "between.jpg")
    add(tar, "between.txt", b"between")
    add(tar, "apart.txt", b"too late")


def main():
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for name, mode, kind in [("pax.tar", "w", tarfile.PAX_FORMAT), ("gnu.tar.gz", "w:gz", tarfile.GNU_FORMAT)]:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode, format=kind) as tar:
            samples(tar)
        (OUTPUT / name).write_bytes(buffer.getvalue())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index in range(3):
            image(tar, f"{index}.jpg")
            add(tar, f"{index}.txt", f"caption {index}".encode())
    (OUTPUT / "ustar.tar").write_bytes(buffer.getvalue())
    (OUTPUT / "truncated.tar").write_bytes(buffer.getvalue()[:1800])


main()
