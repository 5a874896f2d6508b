"""What nuScenes counts: classes and their ranges, distances that make a match, errors and which classes have them."""

from __future__ import annotations

#: The ten classes and how far from the ego vehicle, in metres, they are evaluated.
RANGES = {
    "car": 50,
    "truck": 50,
    "bus": 50,
    "trailer": 50,
    "construction_vehicle": 50,
    "pedestrian": 40,
    "motorcycle": 40,
    "bicycle": 40,
    "traffic_cone": 30,
    "barrier": 30,
}
CLASSES = tuple(RANGES)
ATTRIBUTES = (
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.moving",
    "pedestrian.standing",
    "pedestrian.sitting_lying_down",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)
#: A match is nearer than this, in metres from centre to centre as seen from above; AP is the mean over all four.
DISTANCES = (0.5, 1.0, 2.0, 4.0)
#: The distance at which the errors of what was found are taken.
ERROR_DISTANCE = 2.0
#: Recalls and precisions up to here do not count.
MIN_RECALL, MIN_PRECISION = 0.1, 0.1
#: How many times a class average enters the detection score; each of the five errors enters once.
AP_WEIGHT = 5
#: Boxes that a detector may give for one sample.
MAX_DETECTIONS = 500

#: Errors by the names of the official result files; common short names are ATE, ASE, AOE, AVE and AAE.
ERRORS = {
    "trans_err": "ATE, m",
    "scale_err": "ASE, 1 - IoU",
    "orient_err": "AOE, rad",
    "vel_err": "AVE, m/s",
    "attr_err": "AAE, 1 - accuracy",
}
#: Cones look the same from all sides; neither cones nor barriers move or have attributes.
UNDEFINED = {
    "traffic_cone": frozenset({"orient_err", "vel_err", "attr_err"}),
    "barrier": frozenset({"vel_err", "attr_err"}),
}
#: Barriers have no front: their headings are compared up to half a turn.
SYMMETRIC = "barrier"
#: Classes that are not counted where they stand in a bicycle rack.
RACKED = ("bicycle", "motorcycle")
