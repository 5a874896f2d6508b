"""Whatever a cell of the tables or an entry of an info file holds: a result as documented, or a DataError."""

import copy
import importlib.util
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from structkd.datasets.points.nuscenes import NuScenesFrames, read_nuscenes_infos
from structkd.datasets.points.nuscenes_infos import write_nuscenes_infos
from structkd.datasets.points.nuscenes_labels import table_labels
from structkd.datasets.points.nuscenes_tables import NuScenesTables
from structkd.errors import ConfigError, DataError

fuzz = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ODD = [
    None,
    True,
    "",
    "x",
    "1s0",
    [],
    {},
    [1, 2],
    [0, 0, 0, 0],
    [math.nan] * 3,
    -1,
    0,
    3.5,
    math.inf,
    10**400,
    ["moving"],
]
PICK = st.integers(0, 10**6)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Tables with their rows, and the infos made of them."""
    root = tmp_path_factory.mktemp("nuscenes")
    spec = importlib.util.spec_from_file_location("tables", Path(__file__).with_name("nuscenes_tables.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = module.write_tables(root)
    (path,) = write_nuscenes_infos(root, "v1.0-mini", ["val"], show_progress=False)
    return root, rows, pickle.loads(path.read_bytes())


@fuzz
@given(table=PICK, row=PICK, cell=PICK, value=st.sampled_from(ODD), left_out=st.booleans())
def test_tables(data, table, row, cell, value, left_out):
    root, tables, _ = data
    name = sorted(tables)[table % len(tables)]
    rows = copy.deepcopy(tables[name])
    chosen = rows[row % len(rows)]
    column = sorted(chosen)[cell % len(chosen)]
    if left_out:
        del chosen[column]
    else:
        chosen[column] = value
    path = root / "v1.0-mini" / f"{name}.json"
    path.write_text(json.dumps(rows))
    (root / "nuscenes_infos_val.pkl").unlink(missing_ok=True)
    try:
        (infos,) = write_nuscenes_infos(root, "v1.0-mini", ["val"], show_progress=False)
        read_nuscenes_infos(infos)
        tables_now = NuScenesTables(root, "v1.0-mini")
        labels = table_labels(tables_now, tables_now.samples("all"))
        assert np.isfinite(labels.center).all() and len(labels.samples) >= 1
    except (DataError, ConfigError) as error:
        assert len(str(error)) < 900
    finally:
        path.write_text(json.dumps(tables[name]))


def places(value, path=()):
    """Where there are values in nested dicts and lists."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, (dict, list)):
            yield from places(inner, (*path, key))


@fuzz
@given(place=PICK, value=st.sampled_from([*ODD, "left out"]))
def test_infos(data, place, value, tmp_path):
    root, _, infos = data
    infos = copy.deepcopy(infos)
    found = [p for p in places(infos["data_list"][:1]) if len(p) > 1]
    *outer, last = found[place % len(found)]
    inner = infos["data_list"]
    for key in outer:
        inner = inner[key]
    if value == "left out":
        del inner[last]
    else:
        inner[last] = value
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps(infos))
    try:
        frames = NuScenesFrames(root, path)
        frame = frames[0]
        assert np.isfinite(frame.points).all() and np.isfinite(frame.boxes).all() and len(frames.labels()) > 0
    except DataError as error:
        assert len(str(error)) < 900
