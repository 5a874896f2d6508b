_base_ = "../../_base_/graphs/digits.py"
title = "GNN-to-MLP distillation on a graph of your own"
data = dict(
    _delete_=True,
    type="NodeTask",
    # A PyG Data file, an npz or a folder of tables; see structkd.datasets.custom_graph.
    dataset=dict(type="custom_graph", path="my_graph.npz"),
    protocol=dict(name="cpf", train_per_class=20, val_per_class=30),
)
