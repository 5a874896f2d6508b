import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "third_party"


def pins(file):
    lines = [line for line in (FOLDER / file).read_text().splitlines() if not line.startswith("#")]
    found = {}
    for line in lines:
        name, version = re.fullmatch(r"([A-Za-z0-9_.-]+)==([0-9][\w.]*)(?:; .*)?", line).groups()
        found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), []).append(version)
    return found


def test_the_pins_of_mmdet3d_fit_its_extra():
    text = (ROOT / "pyproject.toml").read_text()
    extra = re.search(r"^mmdet3d = \[(.*?)^\]", text, re.M | re.S)[1]
    own = pins("constraints-mmdet3d.txt")
    for requirement in re.findall(r'"([^";]+)[^"]*"', extra):
        name, _, exact = requirement.partition("==")
        name = re.split("[<>=]", name)[0]
        assert name in own or name in pins("constraints.txt"), name
        if exact and name in own:
            assert own[name] == [exact]
    assert own["numpy"][0].startswith("1.") and own["torch"] == pins("constraints.txt")["torch"]
    assert all(len(versions) == 1 for versions in own.values())


def test_the_script_that_compiles_mmcv_is_well_formed():
    subprocess.run(["bash", "-n", str(FOLDER / "mmcv_ops" / "compile_mmcv.sh")], check=True)
