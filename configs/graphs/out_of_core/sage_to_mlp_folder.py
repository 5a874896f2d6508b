# The same on a folder of one's own, made with tools/create_data.py graph: see README.md for its files.
_base_ = "sage_to_mlp_synthetic.py"
title = "GLNN and FF-G2M on a graph on disk"
data = dict(dataset=dict(_delete_=True, type="disk_graph", path="data/my_graph"))
