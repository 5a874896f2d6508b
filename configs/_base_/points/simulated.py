# Simulated street scenes in KITTI's layout, made on the spot: 1,000 frames to train on, 100 to choose settings by, 250
# to test. PointPillars on the 46 m ahead, with pillars of 0.32 m: a teacher, and a student with a 16th of its weights.
# Every method's stage for these data; a method's own config chooses stages with `run`.
_range = [0, -23.04, -3, 46.08, 23.04, 1]

data = dict(
    type="DetectionTask",
    dataset=dict(type="simulated_frames", num_train=1000, num_val=100, num_test=250, seed=0, point_range=_range),
    classes=["Car", "Pedestrian", "Cyclist"],
    splits=dict(train="train", test="test"),
    # Lighter than KITTI's: frames are there for the asking, and a small network that trains for minutes learns twice as
    # much from them as from GT sampling and turns by 45 degrees (on validation frames).
    augment=[
        dict(type="RandomFlip"),
        dict(type="GlobalRotation", low=-0.15, high=0.15),
        dict(type="GlobalScaling"),
        dict(type="RangeFilter", point_range=_range),
        dict(type="PointShuffle"),
    ],
)
seeds = [0, 1, 2]

_detector = dict(
    type="PointPillars",
    point_range=_range,
    voxel_size=[0.32, 0.32, 4],
    layer_nums=[3, 3, 3],
    channels=[32, 64, 128],
    neck_channels=[64, 64, 64],
    legacy=False,
)
_adamw = dict(
    optimizer=dict(type="AdamW", lr=0.001, betas=[0.95, 0.99], weight_decay=0.01),
    clip_grad=dict(max_norm=35, norm_type=2),
)
_schedule = dict(
    train_dataloader=dict(batch_size=4, cache=True),
    optim_wrapper=_adamw,
    param_scheduler=dict(type="OneCycle"),
)
_taught = dict(teacher=dict(stage="teacher"))
# Channels of the student (a quarter) and of the teacher: pillars, and the neck that the head reads.
_pillars = dict(student_channels=16, teacher_channels=64)
_neck = dict(student_channels=48, teacher_channels=192, field="neck")

# The teacher trains longer than the students, which all train equally long from the same initialisation. One rule sets
# the weights of all methods: the weighted loss is about 1 when training starts (the detection loss is about 3 then),
# which is where the weights published for detectors bring PointDistiller's, SparseKD's and itKD's.
stages = dict(
    teacher=dict(
        title="PointPillars",
        role="teacher",
        model=_detector,
        adapter=dict(elements="pillars", maps=["neck"], head=True),
        train_cfg=dict(max_epochs=12),
        **_schedule,
    ),
    plain=dict(
        title="PointPillars 16x",
        role="plain",
        model=dict(**_detector, width=0.25),
        adapter=dict(elements="pillars", maps=["neck"], head=True),
        train_cfg=dict(max_epochs=6),
        **_schedule,
    ),
    point_distiller=dict(
        like="plain",
        title="PointPillars 16x, PointDistiller",
        method="PointDistiller",
        role="distilled",
        teachers=_taught,
        distillers=dict(kd=dict(type="PointDistiller", **_pillars, out_channels=16, weight=1.0)),
    ),
    point_distiller_reference=dict(
        like="plain",
        title="PointPillars 16x, PointDistiller as published",
        method="PointDistiller, reference",
        role="distilled",
        teachers=_taught,
        distillers=dict(kd=dict(type="PointDistiller", **_pillars, out_channels=16, mode="reference", weight=1.0)),
    ),
    fitnet=dict(
        like="plain",
        title="PointPillars 16x, FitNet",
        method="FitNet",
        role="distilled",
        teachers=_taught,
        distillers=dict(kd=dict(type="FitNet", **_neck, weight=3.0)),
    ),
    attention_transfer=dict(
        like="plain",
        title="PointPillars 16x, attention transfer",
        method="AT",
        role="distilled",
        teachers=_taught,
        distillers=dict(kd=dict(type="AttentionTransfer", field="neck", weight=1.0)),
    ),
    similarity=dict(
        like="plain",
        title="PointPillars 16x, similarity preserving",
        method="SP",
        role="distilled",
        teachers=_taught,
        distillers=dict(kd=dict(type="SimilarityPreserving", field="neck", weight=50.0)),
    ),
    rkd=dict(
        like="plain",
        title="PointPillars 16x, RKD",
        method="RKD",
        role="distilled",
        teachers=_taught,
        distillers=dict(kd=dict(type="RKD", field="neck", weight=3.0)),
    ),
    channel_wise=dict(
        like="plain",
        title="PointPillars 16x, channel-wise",
        method="CWD",
        role="distilled",
        teachers=_taught,
        distillers=dict(kd=dict(type="ChannelWise", **_neck, weight=8.0)),
    ),
    pkd=dict(
        like="plain",
        title="PointPillars 16x, PKD",
        method="PKD",
        role="distilled",
        teachers=_taught,
        distillers=dict(kd=dict(type="PKD", **_neck, weight=1.0)),
    ),
    itkd=dict(
        like="plain",
        title="PointPillars 16x, itKD",
        method="itKD",
        role="distilled",
        teachers=_taught,
        distillers=dict(kd=dict(type="ITKD", **_neck, point_range=_range, weight=1.0)),
    ),
    logit_kd=dict(
        like="plain",
        title="PointPillars 16x, logit KD",
        method="logit KD",
        role="distilled",
        teachers=_taught,
        distillers=dict(kd=dict(type="LogitKD", weight=1.0)),
    ),
    sparsekd=dict(
        like="plain",
        title="PointPillars 16x, SparseKD",
        method="SparseKD",
        role="distilled",
        init_from=dict(stage="teacher", narrow=dict(concatenated={"head.*": 3})),
        objective_weight=0.0,
        teachers=_taught,
        distillers=dict(
            labels=dict(type="LabelKD", scores=[0.6, 0.5, 0.5]),
            logits=dict(type="SparseKD", point_range=_range, score_weight=7.0, box_weight=0.0),
        ),
    ),
)
