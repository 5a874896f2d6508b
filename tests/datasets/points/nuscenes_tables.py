"""A tiny v1.0-mini: two scenes, one sample with a car, a bicycle in a rack and a cone each, three scans a sample."""

import json

import numpy as np


def write_tables(root, version="v1.0-mini"):
    """The tables and scans; returns the rows by table."""
    tables = {name: [] for name in ("sensor", "category", "attribute", "instance", "scene", "sample")}
    tables |= {name: [] for name in ("sample_data", "sample_annotation", "ego_pose", "calibrated_sensor")}
    for channel in ("LIDAR_TOP", "CAM_FRONT"):
        tables["sensor"].append(dict(token=channel, channel=channel))
    half = np.sqrt(0.5)
    tables["calibrated_sensor"] = [
        # nuScenes' LiDAR looks to the right: its x axis is the vehicle's -y.
        dict(token="lidar", sensor_token="LIDAR_TOP", translation=[0.9, 0, 1.8], rotation=[half, 0.01, 0.01, -half]),
        dict(token="camera", sensor_token="CAM_FRONT", translation=[1.7, 0, 1.5], rotation=[1, 0, 0, 0]),
    ]
    kinds = ("vehicle.car", "vehicle.bicycle", "static_object.bicycle_rack", "movable_object.trafficcone", "animal")
    tables["category"] = [dict(token=f"c{i}", name=name) for i, name in enumerate(kinds)]
    tables["attribute"] = [dict(token="moving", name="vehicle.moving")]
    rng = np.random.default_rng(0)
    for folder in ("samples", "sweeps"):
        (root / folder / "LIDAR_TOP").mkdir(parents=True)
    for scene, name in enumerate(("scene-0061", "scene-0103")):
        tokens = [f"{scene}s{i}" for i in range(3)]
        tables["scene"].append(dict(token=f"scene{scene}", name=name, first_sample_token=tokens[0]))
        for kind in range(len(kinds)):
            tables["instance"].append(dict(token=f"{scene}i{kind}", category_token=f"c{kind}"))
        for step, token in enumerate(tokens):
            time = 1_000_000 * scene + 500_000 * step
            around = dict(prev=tokens[step - 1] if step else "", next=tokens[step + 1] if step < 2 else "")
            tables["sample"].append(dict(token=token, timestamp=time, scene_token=f"scene{scene}", **around))
            for scan in range(3):
                write_scan(root, tables, rng, scene, step, scan, token, time)
            for kind in range(len(kinds)):
                x = 610.0 + 3 * step if kind == 0 else 595.0 - (kind == 3) * 4
                tables["sample_annotation"].append(
                    dict(
                        token=f"{token}a{kind}",
                        sample_token=token,
                        instance_token=f"{scene}i{kind}",
                        attribute_tokens=["moving"] if kind == 0 else [],
                        translation=[x, 1000.0 + kind // 3, 1.0],
                        size=[2.0, 4.0, 1.5] if kind != 2 else [3.0, 3, 3],
                        rotation=[np.cos(0.2 * kind), 0, 0, np.sin(0.2 * kind)],
                        num_lidar_pts=0 if kind == 3 and step else 5,
                        num_radar_pts=0,
                        prev=f"{tokens[step - 1]}a{kind}" if step else "",
                        next=f"{tokens[step + 1]}a{kind}" if step < 2 else "",
                    )
                )
    (root / version).mkdir()
    for table, rows in tables.items():
        (root / version / f"{table}.json").write_text(json.dumps(rows))
    return tables


def write_scan(root, tables, rng, scene, step, scan, token, time):
    """The last of three scans of a step is the sample's own; all see one wall, fixed in the world, and the vehicle."""
    number = 3 * step + scan
    name, key = f"{scene}d{number}", scan == 2
    filename = f"{'samples' if key else 'sweeps'}/LIDAR_TOP/{name}.pcd.bin"
    place = [600.0 + 0.4 * number, 1000.0, 0]
    turn = 0.02 * number
    tables["ego_pose"].append(dict(token=name, translation=place, rotation=[np.cos(turn / 2), 0, 0, np.sin(turn / 2)]))
    tables["sample_data"].append(
        dict(
            token=name,
            sample_token=token,
            ego_pose_token=name,
            calibrated_sensor_token="lidar",
            timestamp=time - 50_000 * (2 - scan),
            is_key_frame=key,
            filename=filename,
            prev=f"{scene}d{number - 1}" if number else "",
            next=f"{scene}d{number + 1}" if number < 8 else "",
        )
    )
    wall = np.stack([np.full(50, 620.0), 1000 + np.linspace(-5, 5, 50), np.linspace(0, 3, 50)], 1)
    from structkd.datasets.points.poses import invert, pose

    to_lidar = invert(
        pose(place, tables["ego_pose"][-1]["rotation"])
        @ pose(*(tables["calibrated_sensor"][0][key] for key in ("translation", "rotation")))
    )
    seen = wall @ to_lidar[:3, :3].T + to_lidar[:3, 3]
    own = rng.uniform(-0.9, 0.9, (7, 3))
    points = np.concatenate([np.concatenate([seen, own]), np.full((57, 1), 51.0), np.full((57, 1), 3)], axis=1)
    (root / filename).write_bytes(points.astype("<f4").tobytes())
