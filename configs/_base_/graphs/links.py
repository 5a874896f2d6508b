# Link prediction by the protocol of LLP: 5 % of the edges select, 10 % test, Hits@20 leads. A data set's file adds
# `data`; every student is `like` `plain`. A method's own config chooses stages with `run`.
seeds = [0, 1, 2, 3, 4]

_adam = dict(optimizer=dict(type="Adam", lr=0.01))
_epochs = dict(max_epochs=100, val_interval=2)
_selection = dict(patience=15)
_predictor = dict(type="LinkPredictor", in_channels=128, hidden_channels=128, num_layers=2)
_context = dict(hops=2, rw_step=3, ns_rate=1)
_heuristic = dict(role="teacher", adapter=dict(inputs=["x", "pairs", "edge_index"]), store_outputs=False)

stages = dict(
    teacher=dict(
        title="SAGE",
        role="teacher",
        model=dict(
            type="LinkModel",
            encoder=dict(
                type="GraphSAGE", num_layers=2, hidden_channels=128, out_channels=128, dropout=0.5, aggregator="mean"
            ),
            predictor=_predictor,
        ),
        adapter=dict(inputs=["x", "pairs", "edge_index"], fields=["x"]),
        optim_wrapper=_adam,
        train_cfg=_epochs,
        selection=_selection,
    ),
    plain=dict(
        title="MLP",
        role="plain",
        model=dict(
            type="LinkModel",
            encoder=dict(type="MLP", num_layers=2, hidden_channels=128, out_channels=128, dropout=0.5),
            predictor=_predictor,
        ),
        adapter=dict(inputs=["x", "pairs"]),
        optim_wrapper=_adam,
        train_cfg=_epochs,
        selection=_selection,
    ),
    llp=dict(
        like="plain",
        title="MLP, LLP",
        method="LLP",
        role="distilled",
        train_dataloader=dict(context=_context),
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(llp=dict(type="LLP")),
    ),
    # EHDM: each heuristic teaches one MLP, then a gate learns which MLP to trust on which pair.
    common_neighbors=dict(
        title="Common neighbours", model=dict(type="HeuristicTeacher", heuristic="common_neighbors"), **_heuristic
    ),
    resource_allocation=dict(
        title="Resource allocation", model=dict(type="HeuristicTeacher", heuristic="resource_allocation"), **_heuristic
    ),
    shortest_path=dict(
        title="Shortest path", model=dict(type="HeuristicTeacher", heuristic="capped_shortest_path"), **_heuristic
    ),
    ehdm_common_neighbors=dict(
        like="plain",
        title="MLP, common neighbours",
        method="EHDM",
        role="distilled",
        train_dataloader=dict(context=_context),
        teachers=dict(heuristic=dict(stage="common_neighbors")),
        distillers=dict(ehdm=dict(type="EHDM")),
    ),
    ehdm_resource_allocation=dict(
        like="ehdm_common_neighbors",
        title="MLP, resource allocation",
        method="EHDM",
        role="distilled",
        teachers=dict(heuristic=dict(stage="resource_allocation")),
    ),
    ehdm_shortest_path=dict(
        like="ehdm_common_neighbors",
        title="MLP, shortest path",
        method="EHDM",
        role="distilled",
        teachers=dict(heuristic=dict(stage="shortest_path")),
    ),
    ehdm=dict(
        like="plain",
        title="Three MLPs and a gate, EHDM",
        method="EHDM",
        role="distilled",
        model=dict(
            _delete_=True,
            type="GatedEnsemble",
            students=[
                dict(stage="ehdm_common_neighbors"),
                dict(stage="ehdm_resource_allocation"),
                dict(stage="ehdm_shortest_path"),
            ],
            hidden_channels=64,
            dropout=0.5,
        ),
    ),
)
