"""KITTI's evaluation written down literally: one loop after the other, no care for speed.

Frames are lists of objects; an object is a dict with type, truncated, occluded, alpha, box (x1, y1, x2, y2), place
(x, y, z), size (l, h, w), yaw and, if detected, score.
"""

import math

LEAST_HEIGHT = {"easy": 40, "moderate": 25, "hard": 25}
MOST_OCCLUDED = {"easy": 0, "moderate": 1, "hard": 2}
MOST_TRUNCATED = {"easy": 0.15, "moderate": 0.3, "hard": 0.5}
NEIGHBOUR = {"car": "van", "pedestrian": "person_sitting", "cyclist": None}


def plain(objects):
    """A `KittiObjects` as a list of dicts."""
    scores = [None] * len(objects) if objects.score is None else objects.score.tolist()
    found = []
    for name, row, score in zip(objects.type.tolist(), objects.rows.tolist(), scores):
        truncated, occluded, alpha, x1, y1, x2, y2, height, width, length, x, y, z, yaw = row
        found.append(
            {
                "type": name.lower(),
                "truncated": truncated,
                "occluded": occluded,
                "alpha": alpha,
                "box": (x1, y1, x2, y2),
                "place": (x, y, z),
                "size": (length, height, width),
                "yaw": yaw,
                "score": score,
            }
        )
    return found


def shared_2d(a, b):
    width = min(a["box"][2], b["box"][2]) - max(a["box"][0], b["box"][0])
    height = min(a["box"][3], b["box"][3]) - max(a["box"][1], b["box"][1])
    return width * height if width > 0 and height > 0 else 0.0


def area_2d(a):
    return (a["box"][2] - a["box"][0]) * (a["box"][3] - a["box"][1])


def ground_polygon(a):
    """Corners on the ground (x, z), counter-clockwise in that plane."""
    (x, _, z), (length, _, width), yaw = a["place"], a["size"], a["yaw"]
    corners = []
    for along, across in ((0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)):
        along, across = along * length, across * width
        corners.append(
            (x + along * math.cos(yaw) + across * math.sin(yaw), z - along * math.sin(yaw) + across * math.cos(yaw))
        )
    return corners


def polygon_area(corners):
    return sum(p[0] * q[1] - q[0] * p[1] for p, q in zip(corners, corners[1:] + corners[:1])) / 2


def shared_ground(a, b):
    """Area of the first polygon after it was cut along every edge of the second, recentred for precision."""
    x0, z0 = b["place"][0], b["place"][2]
    subject, clip = ([(x - x0, z - z0) for x, z in ground_polygon(box)] for box in (a, b))
    for p, q in zip(clip, clip[1:] + clip[:1]):

        def side(r, p=p, q=q):
            return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

        kept = []
        for r, s in zip(subject, subject[1:] + subject[:1]):
            if side(r) >= 0:
                kept.append(r)
            if (side(r) >= 0) != (side(s) >= 0):
                t = side(r) / (side(r) - side(s))
                kept.append((r[0] + t * (s[0] - r[0]), r[1] + t * (s[1] - r[1])))
        subject = kept
    return abs(polygon_area(subject)) if len(subject) > 2 else 0.0


def overlap(a, b, metric):
    if metric == "2d":
        shared, whole = shared_2d(a, b), area_2d(a) + area_2d(b)
    elif metric == "bev":
        shared, whole = shared_ground(a, b), a["size"][0] * a["size"][2] + b["size"][0] * b["size"][2]
    else:
        bottom, top = min(a["place"][1], b["place"][1]), max(a["place"][1] - a["size"][1], b["place"][1] - b["size"][1])
        shared = shared_ground(a, b) * max(bottom - top, 0)
        whole = math.prod(a["size"]) + math.prod(b["size"])
    return shared / (whole - shared) if shared > 0 else 0.0


def label_state(a, category, difficulty, height_rule):
    """0 counts, 1 ignored, -1 of no interest."""
    height = a["box"][3] - a["box"][1]
    least = LEAST_HEIGHT[difficulty]
    low = height < least if height_rule == "<" else height <= least
    hard = low or a["occluded"] > MOST_OCCLUDED[difficulty] or a["truncated"] > MOST_TRUNCATED[difficulty]
    if a["type"] == category:
        return 1 if hard else 0
    return 1 if a["type"] == NEIGHBOUR[category] else -1


def detection_state(a, category, difficulty):
    if a["box"][3] - a["box"][1] < LEAST_HEIGHT[difficulty]:
        return 1
    return 0 if a["type"] == category else -1


def match_without_threshold(labels, detections, label_states, detection_states, overlaps, least):
    """Scores of the right detections when each label takes the one with the highest score."""
    scores, taken = [], set()
    for i in range(len(labels)):
        if label_states[i] == -1:
            continue
        best = None
        for j in range(len(detections)):
            if detection_states[j] == -1 or j in taken or not overlaps[i][j] > least:
                continue
            if best is None or detections[j]["score"] > detections[best]["score"]:
                best = j
        if best is not None:
            taken.add(best)
            if label_states[i] == 0 and detection_states[best] == 0:
                scores.append(detections[best]["score"])
    return scores


def thresholds_of(scores, num_labels):
    scores = sorted(scores, reverse=True)
    recall, chosen = 0.0, []
    for i, score in enumerate(scores):
        last = i == len(scores) - 1
        left = (i + 1) / num_labels
        right = left if last else (i + 2) / num_labels
        if right - recall < recall - left and not last:
            continue
        chosen.append(score)
        recall += 1 / 40
    return chosen


def match_at(threshold, labels, detections, label_states, detection_states, overlaps, least, regions):
    """Right and wrong detections and the summed similarity of headings at one threshold."""
    right, wrong, similarity, taken = 0, 0, 0.0, set()
    for i in range(len(labels)):
        if label_states[i] == -1:
            continue
        best, best_is_ignored = None, False
        for j in range(len(detections)):
            if detection_states[j] == -1 or j in taken or detections[j]["score"] < threshold:
                continue
            if not overlaps[i][j] > least:
                continue
            if detection_states[j] == 0:
                if best is None or best_is_ignored or overlaps[i][j] > overlaps[i][best]:
                    best, best_is_ignored = j, False
            elif best is None:
                best, best_is_ignored = j, True
        if best is not None:
            taken.add(best)
            if label_states[i] == 0 and detection_states[best] == 0:
                right += 1
                similarity += (1 + math.cos(labels[i]["alpha"] - detections[best]["alpha"])) / 2
    for j in range(len(detections)):
        if detection_states[j] != 0 or j in taken or detections[j]["score"] < threshold:
            continue
        if not any(shared_2d(detections[j], region) / area_2d(detections[j]) > least for region in regions):
            wrong += 1
    return right, wrong, similarity


def curve(label_frames, detection_frames, category, difficulty, metric, least, height_rule="<"):
    """Thresholds, 41 precisions, 41 similarities of headings, number of labels that count."""
    category, frames = category.lower(), []
    for labels, detections in zip(label_frames, detection_frames):
        regions = [a for a in labels if a["type"] == "dontcare"] if metric == "2d" else []
        label_states = [label_state(a, category, difficulty, height_rule) for a in labels]
        detection_states = [detection_state(a, category, difficulty) for a in detections]
        overlaps = [
            # What is of no interest is never compared.
            [0 if -1 in (i, j) else overlap(a, b, metric) for b, j in zip(detections, detection_states)]
            for a, i in zip(labels, label_states)
        ]
        frames.append((labels, detections, label_states, detection_states, overlaps, least, regions))
    num_labels = sum(states.count(0) for _, _, states, *_ in frames)
    scores = [score for *frame, _ in frames for score in match_without_threshold(*frame)]
    thresholds = thresholds_of(scores, num_labels)
    precision, similarity = [0.0] * 41, [0.0] * 41
    for k, threshold in enumerate(thresholds):
        found = [match_at(threshold, *frame) for frame in frames]
        right, wrong, alike = (sum(values) for values in zip(*found))
        if right + wrong:
            precision[k], similarity[k] = right / (right + wrong), alike / (right + wrong)
    precision = [max(precision[k:]) for k in range(41)]
    similarity = [max(similarity[k:]) for k in range(41)]
    return thresholds, precision, similarity, num_labels


def average(values, points):
    chosen = values[1:] if points == 40 else values[::4]
    return 100 * sum(chosen) / points
