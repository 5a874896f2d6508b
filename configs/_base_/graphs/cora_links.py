# Cora's citations; bag-of-words features.
_base_ = "links.py"
data = dict(
    type="LinkTask",
    dataset=dict(type="planetoid_graph", name="Cora", root="$STRUCTKD_DATA/graphs", sparse=True),
    protocol=dict(val=0.05, test=0.1),
)
