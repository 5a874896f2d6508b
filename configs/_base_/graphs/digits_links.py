# Which digits are nearest neighbours: scikit-learn's 1,797 digits as a kNN graph with 9,929 edges, no download.
_base_ = "links.py"
data = dict(type="LinkTask", dataset=dict(type="digits_graph", k=8), protocol=dict(val=0.05, test=0.1))
