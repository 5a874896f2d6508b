_base_ = "public.py"
data = dict(
    type="NodeTask",
    dataset=dict(type="coauthor_graph", name="CS", sparse=True, root="$STRUCTKD_DATA/graphs"),
    protocol=dict(name="planetoid_random", train_per_class=20, num_val=500, num_test=1000),
    transforms=["row_normalize"],
)
# FF-G2M's published numbers for a GCN teacher (its code swaps the two dropouts, here each stands where it acts) and
# HGMD's. KRD's are its defaults.
stages = dict(
    teacher=dict(model=dict(num_layers=2, hidden_channels=256, dropout=0.6)),
    plain=dict(model=dict(num_layers=2, hidden_channels=256, dropout=0.5)),
    ffg2m=dict(objective_weight=0.3, distillers=dict(ffg2m=dict(tau=1.5, weight=0.7))),
    hgmd=dict(objective_weight=0.1, distillers=dict(hgmd=dict(weight=0.9, tau=1.0, alpha=1.0, beta=0.4))),
)
