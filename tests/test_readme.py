"""What the README says can be typed, works when typed."""

import pathlib
import re

import pytest

from jaxinterp.cli import main
from jaxinterp.pipelines import VERBS

README = pathlib.Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block, capsys):
    exec(block, {})
    assert "units that carried the error" in capsys.readouterr().out


def test_there_is_one_line_each_to_run_and_to_test():
    lines = [line for line in README.read_text().splitlines() if line.startswith("python3 -m venv")]
    assert [("jaxinterp study" in line, "pytest" in line) for line in lines] == [(True, False), (False, True)]


def test_every_verb_is_named(capsys):
    text = README.read_text()
    assert all(f"`{verb}`" in text for verb in VERBS)
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert all(verb in capsys.readouterr().out for verb in ["show"])
