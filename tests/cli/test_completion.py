"""What a shell is offered for an incomplete command line, asked as bash asks: by argcomplete's variables."""

import os
import subprocess
import sys

import pytest

from jaxgan import config


def offered(line, tmp_path):
    answer = tmp_path / "answer"
    environment = os.environ | {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    done = subprocess.run(
        [sys.executable, "-m", "jaxgan"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert (done.stdout, done.stderr) == ("", "")
    return [word.strip() for word in answer.read_text().splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("jaxgan eva", ["evaluate"], marks=pytest.mark.slow),
        ("jaxgan evaluate --resize t", ["tf1", "torch"]),
        pytest.param(
            "jaxgan evaluate --protocol fid_", ["fid_infinity50k_train"], marks=pytest.mark.slow
        ),
        pytest.param("jaxgan train --config sngan_d", ["sngan_digits"], marks=pytest.mark.slow),
        (
            "jaxgan train --config stylegan2_digits --config.model.mixing",
            ["--config.model.mixing"],
        ),
        ("jaxgan train --config no_such --config.model.batch_si", []),
        ("jaxgan sample --workdir 'no such' --options.trunc", []),
    ],
)
def test_words_are_completed(line, expected, tmp_path):
    assert offered(line, tmp_path) == expected


def test_all_commands_and_files_are_offered(tmp_path):
    from jaxgan.cli.main import COMMANDS

    assert set(offered("jaxgan ", tmp_path)) >= {*COMMANDS}
    assert set(offered("jaxgan train --config ", tmp_path)) == {*config.names()}
    (tmp_path / "pictures").mkdir()
    assert offered("jaxgan evaluate --real pic", tmp_path) == ["pictures/"]
