# As vit_digits_split.py, with a neural attentive circuit as the student: read-in, two propagator layers and read-out
# are its modules, and one linear map each side joins them to the teacher (the m2mKD authors' stitch for circuits). The
# latents that pass from module to module are as many as the teacher's tokens: 5 inputs and 12 mediators.
_base_ = "vit_digits_split.py"
title = "Module by module: a transformer teaches an attentive circuit, handwritten digits"

_student = dict(
    _delete_=True,
    type="NAC",
    width=32,
    depth=2,
    heads=4,
    inputs=5,
    mediators=12,
    outputs=8,
    patch_size=2,
    stem_depths=[1],
    signature_channels=16,
    graph=dict(name="ring_of_cliques", cliques=3),
    shared_design=False,  # so that each module has signatures and codes of its own
)
_splits = ["layers.0", "layers.1", "read_out"]
stages = {f"pair_{_i}": dict(model=dict(source=_student, splits=_splits, stitch="linear")) for _i in range(4)}
stages |= dict(
    plain=dict(title="NAC, end to end, 15 epochs", model=_student),
    longer=dict(title="NAC, end to end, 25 epochs", model=_student),
    kd=dict(title="NAC, KD"),
    m2mkd=dict(title="NAC, m2mKD"),
    m2mkd_reference=dict(title="NAC, m2mKD with the reference KL"),
    m2mkd_stitched=dict(
        title="NAC, m2mKD, stitches kept", model=dict(source=_student, splits=_splits, stitch="linear")
    ),
)
