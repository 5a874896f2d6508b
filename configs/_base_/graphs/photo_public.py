_base_ = "public.py"
data = dict(
    type="NodeTask",
    dataset=dict(type="amazon_graph", name="Photo", root="$STRUCTKD_DATA/graphs"),
    protocol=dict(name="planetoid_random", train_per_class=20, num_val=500, num_test=1000),
    transforms=["row_normalize"],
)
# FF-G2M's published numbers for a GCN teacher; its code swaps the two dropouts, here each stands where it acts.
stages = dict(
    teacher=dict(
        model=dict(num_layers=3, hidden_channels=2048, dropout=0.6), optim_wrapper=dict(optimizer=dict(lr=0.001))
    ),
    plain=dict(
        model=dict(num_layers=3, hidden_channels=2048, dropout=0.5), optim_wrapper=dict(optimizer=dict(lr=0.001))
    ),
    ffg2m=dict(objective_weight=0.1, distillers=dict(ffg2m=dict(tau=1.3, weight=0.9))),
)
