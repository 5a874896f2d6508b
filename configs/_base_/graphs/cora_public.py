_base_ = "public.py"
data = dict(
    type="NodeTask",
    dataset=dict(type="planetoid_graph", name="Cora", sparse=True, root="$STRUCTKD_DATA/graphs"),
    protocol=dict(name="public"),
    transforms=["row_normalize"],
)
# FF-G2M's published numbers for a GCN teacher (its code swaps the two dropouts, here each stands where it acts) and
# HGMD's. KRD's are its defaults.
stages = dict(
    teacher=dict(model=dict(num_layers=3, hidden_channels=512, dropout=0.5)),
    plain=dict(model=dict(num_layers=3, hidden_channels=512, dropout=0.6)),
    ffg2m=dict(objective_weight=0.4, distillers=dict(ffg2m=dict(tau=1.5, weight=0.6))),
    hgmd=dict(objective_weight=0.1, distillers=dict(hgmd=dict(weight=0.9, tau=0.9, alpha=5.0, beta=0.3))),
)
