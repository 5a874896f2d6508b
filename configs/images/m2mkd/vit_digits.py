# scikit-learn's handwritten digits, from nothing: a meta model, a teacher grown in it module by module (Deep
# Incubation), a narrower student whose modules learn from the teacher's inside the meta model (m2mKD), and the same
# student end to end.
#
# Any pair is a job of its own: --cfg-options "run=[pair_2]" in as many processes as there are cores, on one work dir.
title = "Module by module: a transformer teaches a narrower one, handwritten digits"
data = dict(
    type="ImageTask",
    dataset=dict(type="digit_images"),
    protocol=dict(name="holdout"),
    # No augmentation: small transformers learn these few images within minutes, and what the frozen parts give is
    # computed once.
    corruptions=dict(severities=[3]),
    latency_batches=[1, 128],
)
seeds = [0, 1, 2]

_modules = range(4)
_loader = dict(batch_size=64)
_adam = dict(optimizer=dict(type="AdamW", lr=0.003, weight_decay=0.05))
_fine = dict(optimizer=dict(type="AdamW", lr=0.0005, weight_decay=0.05))  # for what is trained already
_teacher = dict(type="ViT", preset="mini", width=64, depth=8, heads=4, patch_size=2)
_student = dict(type="ViT", preset="mini", width=32, depth=4, heads=4, patch_size=2)
_splits = ["blocks.1", "blocks.2", "blocks.3"]  # of the meta model and the student: a block for each module
_teacher_splits = ["blocks.2", "blocks.4", "blocks.6"]
_meta = dict(stage="meta")


def _epochs(count, loader=_loader, wrapper=_adam):
    return dict(
        train_dataloader=loader,
        optim_wrapper=wrapper,
        param_scheduler=dict(type="CosineAnnealingLR", T_max=count),
        train_cfg=dict(max_epochs=count),
    )


# 1. A teacher of four modules. The meta model has one block for each of them.
stages = dict(
    meta=dict(
        title="Meta model",
        role="auxiliary",
        model={**_teacher, "depth": 4},
        store_outputs=False,
        **_epochs(20),
    )
)
for _i in _modules:
    stages[f"incubate_{_i}"] = dict(
        title=f"Teacher's module {_i} in the meta model, trained",
        role="auxiliary",
        model=dict(
            type="Hybrid",
            meta=_meta,
            source=_teacher,
            index=_i,
            splits=_teacher_splits,
            meta_splits=_splits,
            stitch="none",
        ),
        adapter=dict(type="HybridAdapter"),
        store_outputs=False,
        **_epochs(15),
    )
stages["teacher"] = dict(
    title="Teacher",
    role="teacher",
    model=_teacher,
    init_from=dict(parts={f"incubate_{_i}": {"module.": ""} for _i in _modules}),
    **_epochs(10, wrapper=_fine),
)

# 2. Pairs of modules. `target` is what the student's module has to match; nothing is trained there.
for _i in _modules:
    stages[f"target_{_i}"] = dict(
        title=f"Teacher's module {_i} in the meta model",
        role="auxiliary",
        model=dict(
            type="Hybrid",
            meta=_meta,
            source=dict(stage="teacher"),
            index=_i,
            splits=_teacher_splits,
            meta_splits=_splits,
            stitch="none",
        ),
        adapter=dict(type="HybridAdapter", fields=["prefix"] if _i else []),
    )
for _i in _modules:
    stages[f"pair_{_i}"] = dict(
        title=f"Student's module {_i} in the meta model",
        role="auxiliary",
        model=dict(type="Hybrid", meta=_meta, source=_student, index=_i, splits=_splits),
        adapter=dict(type="HybridAdapter"),
        teachers=dict(teacher=dict(stage=f"target_{_i}")),
        inputs=dict(prefix="teacher") if _i else {},
        objective_weight=0.5,
        distillers=dict(m2mkd=dict(type="M2mKD", weight=0.5)),
        store_outputs=False,
        **_epochs(10),
    )
for _i in _modules:
    stages[f"reference_{_i}"] = dict(
        like=f"pair_{_i}",
        title=f"Student's module {_i}, reference KL",
        role="auxiliary",
        distillers=dict(m2mkd=dict(mode="reference")),
    )

# 3. The student end to end: from scratch, also with the epochs of its modules added, with soft labels, from the
# modules.
stages["plain"] = dict(title="ViT, end to end, 15 epochs", role="plain", model=_student, **_epochs(15))
stages["longer"] = dict(title="ViT, end to end, 25 epochs", role="plain", model=_student, **_epochs(25))
stages["kd"] = dict(
    like="plain",
    title="ViT, KD",
    method="KD",
    role="distilled",
    teachers=dict(teacher=dict(stage="teacher")),
    distillers=dict(kd=dict(type="KD", weight=0.9)),
)
stages["m2mkd"] = dict(
    like="plain",
    title="ViT, m2mKD",
    method="m2mKD",
    role="distilled",
    init_from=dict(parts={f"pair_{_i}": {"module.": ""} for _i in _modules}),
)
stages["m2mkd_reference"] = dict(
    like="plain",
    title="ViT, m2mKD with the reference KL",
    method="m2mKD",
    role="distilled",
    init_from=dict(parts={f"reference_{_i}": {"module.": ""} for _i in _modules}),
)
stages["m2mkd_stitched"] = dict(
    like="plain",
    title="ViT, m2mKD, stitches kept",
    method="m2mKD",
    role="distilled",
    model=dict(_delete_=True, type="Stitched", source=_student, meta=_meta, splits=_splits),
    init_from=dict(
        parts={
            f"pair_{_i}": {
                "module.": "model.",
                **({"pre.": f"joints.{_i - 1}.1."} if _i else {}),
                **({"post.": f"joints.{_i}.0."} if _i < 3 else {}),
            }
            for _i in _modules
        }
    ),
)
