# KITTI's object benchmark: 3,712 frames to train on, 3,769 ("val") to test on, as everywhere in the literature.
# The folder layout is the official one; `tools/create_data.py kitti` makes reading faster, and is not needed.
data = dict(
    type="DetectionTask",
    dataset=dict(type="KittiFrames", root="data/kitti"),
    # the order of OpenMMLab's networks
    classes=["Pedestrian", "Cyclist", "Car"],
    splits=dict(train="train", test="val"),
)
seeds = [0]
