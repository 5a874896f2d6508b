import pytest
import torch
from torch_geometric.data import Batch, Data

from structkd import Structure
from structkd.errors import DataError, WiringError
from structkd.structure import FIELDS

EDGES = torch.tensor([[0, 1, 2], [1, 2, 0]])


@pytest.fixture
def structure():
    return Structure(
        x=torch.arange(12.0).view(4, 3),
        edge_index=EDGES,
        logits=torch.arange(8.0).view(4, 2),
        edge_weight=torch.tensor([1.0, 2.0, 3.0]),
        n_id=torch.tensor([9, 7, 5, 3]),
        mask=torch.tensor([True, True, False, True]),
        codebook=torch.zeros(4, 3),
    )


def test_holds_what_it_is_given(structure):
    given = {"x", "edge_index", "logits", "edge_weight", "n_id", "mask", "codebook"}
    assert structure.provides == given
    assert given - {"codebook"} <= set(FIELDS)
    assert isinstance(structure, Data) and structure.num_nodes == 4
    assert Structure(x=None, logits=None, pos=None).provides == frozenset()


def test_require_names_reader_side_and_fields(structure):
    structure.require(["x", "logits"], "GLNN", "student")
    with pytest.raises(WiringError, match=r"KRD reads importance, pos of the teacher, whose .* provides only codebook"):
        structure.require(["x", "pos", "importance"], "KRD", "teacher")
    with pytest.raises(WiringError, match="provides only nothing"):
        Structure().require(["x"], "GLNN", "student")


@pytest.mark.filterwarnings("ignore:Unable to accurately infer")
def test_number_of_elements_comes_from_any_field():
    for name in ("x", "logits", "n_id", "pos", "mask", "importance", "batch"):
        assert Structure(**{name: torch.zeros(5, 1)}).num_elements == 5
    assert Structure(edge_index=EDGES).num_elements == 3  # what PyG makes of the edges
    assert Structure().num_elements == 0


def test_node_fields_have_one_row_an_element(structure):
    structure["seen"] = torch.ones(4)
    structure["temperature"] = torch.tensor(2.0)
    structure["x_dst"] = torch.zeros(4, 3)
    structure["note"] = "four"
    fields = {name for name in structure.to_dict() if structure.is_node_field(name)}
    assert fields == {"x", "logits", "n_id", "mask", "seen"}
    square = Structure(x=torch.zeros(3, 2), edge_index=EDGES, edge_weight=torch.ones(3))
    assert not square.is_node_field("edge_weight")  # three edges among three nodes
    assert not square.is_node_field("logits")


def test_select_takes_rows_and_leaves_edges_out(structure):
    structure["replay"] = len
    part = structure.select(torch.tensor([2, 0]))
    assert part.provides == {"x", "logits", "n_id", "mask", "codebook", "replay"}
    assert part.n_id.tolist() == [5, 9]
    assert torch.equal(part.x, structure.x[[2, 0]])
    assert part.codebook is structure.codebook and part["replay"] is len
    assert structure.select(torch.tensor([], dtype=torch.long)).x.shape == (0, 3)


def test_select_takes_rows_of_sparse_features(structure):
    dense = structure.x.clone()
    structure["input"] = dense.to_sparse_csr()
    part = structure.select(torch.tensor([3, 1]))
    assert part["input"].layout == torch.sparse_csr
    assert torch.equal(part["input"].to_dense(), dense[[3, 1]])


def test_detach_copies_only_what_carries_a_gradient(structure):
    structure.x.requires_grad_()
    detached = structure.detach()
    assert not detached.x.requires_grad and torch.equal(detached.x, structure.x)
    assert structure.x.requires_grad
    assert detached.edge_index is structure.edge_index and detached.logits is structure.logits


def test_batching_shifts_edges_but_no_ids(structure):
    other = Structure(
        x=torch.ones(2, 3), edge_index=torch.tensor([[0], [1]]), logits=torch.ones(2, 2),
        edge_weight=torch.ones(1), n_id=torch.tensor([9, 1]), mask=torch.tensor([False, True]),
        codebook=torch.ones(4, 3),
    )  # fmt: skip
    batch = Batch.from_data_list([structure, other])
    assert batch.edge_index.tolist() == [[0, 1, 2, 4], [1, 2, 0, 5]]
    assert batch.n_id.tolist() == [9, 7, 5, 3, 9, 1]
    assert batch.batch.tolist() == [0, 0, 0, 0, 1, 1]
    assert batch.edge_weight.tolist() == [1, 2, 3, 1] and batch.mask.sum() == 4
    again = batch.to_data_list()[1]
    assert isinstance(again, Structure)
    assert again.edge_index.tolist() == [[0], [1]] and again.n_id.tolist() == [9, 1]


def test_moves_like_any_data(structure):
    double = structure.apply(lambda value: value.double() if value.is_floating_point() else value)
    assert double.x.dtype == double.logits.dtype == torch.float64
    assert double.n_id.dtype == torch.long
    assert isinstance(structure.to("cpu"), Structure)


def test_check_passes_what_is_legal(structure):
    assert structure.check() is structure
    for size in (0, 1):
        empty = Structure(
            x=torch.zeros(size, 3), edge_index=torch.zeros(2, 0, dtype=torch.long), logits=torch.zeros(size, 2)
        )
        assert empty.check().num_elements == size
    # Samples, not elements, have logits in graph-level tasks; sets of two sizes are joined by bipartite edges.
    Structure(
        x=torch.zeros(4, 3), logits=torch.zeros(2, 5), edge_index=torch.tensor([[3], [5]]), x_dst=torch.zeros(6, 1)
    ).check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(logits=torch.tensor([[1.0, float("nan")]] * 4)), r"outputs\.logits holds NaN or infinity"),
        (dict(pos=torch.full((4, 2), float("inf"))), r"outputs\.pos holds NaN or infinity"),
        (dict(n_id=torch.arange(3)), r"outputs\.n_id has 3 rows, but the structure has 4 elements"),
        (dict(mask=torch.ones(5, dtype=torch.bool)), r"outputs\.mask has 5 rows"),
        (dict(edge_index=torch.zeros(3, 2).long()), r"outputs\.edge_index has shape \(3, 2\); expected \[2, E\]"),
        (dict(edge_index=torch.tensor([[0], [4]])), r"holds ids from 4 to 4; expected 0 to 3"),
        (dict(edge_index=torch.tensor([[-1], [0]])), r"holds ids from -1 to -1; expected 0 to 3"),
        (dict(edge_index=torch.tensor([[0], [2]]), x_dst=torch.zeros(2, 3)), r"from 2 to 2; expected 0 to 1"),
    ],
)  # fmt: skip
def test_check_names_what_is_wrong(structure, changes, message):
    for name, value in changes.items():
        structure[name] = value
    with pytest.raises(DataError, match=message):
        structure.check("outputs")
