"""Frames of one clip from files that a sensor or another program wrote: joints, flow, depth maps, people.

What the files hold is read by `litemkd.modalities`; here the files that go with the sampled frames of the
clip's video are chosen, and brought to the size of its frames.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from litemkd.arrays import read_array
from litemkd.data.finding.folders import Listing, list_files
from litemkd.errors import DataError
from litemkd.modalities.alphapose import read_alphapose
from litemkd.modalities.depth import encode_depth
from litemkd.modalities.depth_maps import DEPTH_SUFFIXES, nearness_of, read_depth_map
from litemkd.modalities.flo import read_flo
from litemkd.modalities.flow import encode_flow, flow_bound, resize_flow
from litemkd.modalities.skeleton import Bones, bones_for, draw_people, render_joints
from litemkd.pictures import check_made
from litemkd.recordings.endings import VIDEO_SUFFIXES, is_litter, natural_key
from litemkd.recordings.times import in_proportion, same_recording, sample_times
from litemkd.recordings.videos import count_frames, resized, video_size

ALPHAPOSE_FILE = "alphapose-results.json"


def list_sources(folder: Path, method: str) -> Listing:
    """What a method finds in its source folder: files or folders of clips.

    Raises:
        DataError: no such folder.
    """
    suffixes = {"joints": (".npy",), "alphapose": (".json",), "flownet2": (), "adabins": ()}
    return list_files(
        folder,
        suffixes.get(method, VIDEO_SUFFIXES),
        or_folders=method in ("flownet2", "adabins", "alphapose"),
    )


def joint_times(n_joints: int, n_video: int | None, T: int) -> np.ndarray:
    """Which frames of the joints go with the sampled frames of the video, (T,) int64.

    The joints may have been taken at another rate: their times are the video's in proportion. None: no video.

    Raises:
        DataError: fewer than T frames of joints, or far from the video's number: not of the same recording.
    """
    if n_joints < T:
        raise DataError(f"it has {n_joints} frames of joints; {T} are needed")
    if n_video is None or n_video == n_joints:
        return sample_times(n_joints, T)
    if not same_recording(n_joints, n_video):
        raise DataError(f"it has {n_joints} frames of joints, but its video has {n_video}: not one recording")
    return in_proportion(sample_times(n_video, T), n_joints, n_video)


def joint_frames(
    source: Path, video: Path | None, T: int, short_side: int, layout: str | Bones | None
) -> np.ndarray:
    """Pictures of joints (.npy), (T, side, side, 3) uint8; see `render_joints`."""
    joints = read_array(source)
    if joints.ndim != 3:
        raise DataError(f"{source} has shape {joints.shape}; (frames, joints, 3 or 4) is needed")
    times = joint_times(len(joints), count_frames(video) if video else None, T)
    bones = bones_for(layout, joints.shape[1]) if layout is None or isinstance(layout, str) else layout
    return render_joints(joints[times], bones, (short_side, short_side))


def flo_frames(source: Path, video: Path | None, T: int, short_side: int) -> np.ndarray:
    """Pictures of the flow in a folder of .flo files, (T, H, W, 3) uint8; see `encode_flow`.

    There is one file for each frame or for each pair of neighbours; the last frame may have none of its own and
    then takes the one before, as flow that is computed here does.
    """
    files = _files_of(source, (".flo",))
    n = count_frames(video) if video else len(files)
    if len(files) not in (n, n - 1):
        raise DataError(
            f"{source} has {len(files)} .flo files, but its video has {n} frames: one for each frame, or for "
            "each pair of neighbours, is needed"
        )
    if n < T:
        raise DataError(f"{source} has flow of {n} frames; {T} are needed")
    flows = _of_one_size([files[min(t, len(files) - 1)] for t in sample_times(n, T).tolist()], read_flo)
    size = _made_size(source, flows[0].shape[:2], short_side)
    return encode_flow(np.stack([resize_flow(flow, size) for flow in flows]), flow_bound(short_side))


def depth_map_frames(source: Path, video: Path | None, T: int, short_side: int) -> np.ndarray:
    """Pictures of the depth maps in a folder, (T, H, W, 3) uint8; see `encode_depth`.

    There is one map for each frame, or one for each of the T sampled frames.
    """
    files = _files_of(source, DEPTH_SUFFIXES)
    n = count_frames(video) if video else len(files)
    if len(files) not in (n, T) or len(files) < T:
        raise DataError(
            f"{source} has {len(files)} depth maps; "
            + (
                f"one for each of the video's {n} frames, or for the {T} sampled ones,"
                if video
                else f"{T} or more"
            )
            + " would do"
        )
    times = sample_times(len(files), T).tolist()
    maps = _of_one_size([files[t] for t in times], read_depth_map)
    size = _made_size(source, maps[0].shape[:2], short_side)
    near, known = (np.stack(part) for part in zip(*(nearness_of(one, size) for one in maps), strict=True))
    return encode_depth(near, known)


def people_frames(source: Path, video: Path | None, T: int, short_side: int) -> np.ndarray:
    """Pictures of the people in AlphaPose's results, (T, H, W, 3) uint8, of the size of the video's frames."""
    if video is None:
        raise DataError(f"{source} has no video; positions in it have no meaning without the video's size")
    n, height, width = video_size(video)
    if n < T:
        raise DataError(f"{video} has {n} frames; {T} are needed")
    people = read_alphapose(source / ALPHAPOSE_FILE if source.is_dir() else source, n)
    size = _made_size(video, (height, width), short_side)
    scale = np.array([size[1] / width, size[0] / height, 1.0], np.float32)
    return np.stack(
        [draw_people([one * scale for one in people[t]], size) for t in sample_times(n, T).tolist()]
    )


def _made_size(source: Path, before: tuple[int, ...], short_side: int) -> tuple[int, int]:
    """(H, W) of the pictures that are made of frames (H, W). DataError: beyond all bounds."""
    size = resized(before[0], before[1], short_side)
    check_made(source, (before[0], before[1]), size)
    return size


def _files_of(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files of a clip's folder in natural order."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise DataError(f"cannot open the folder {folder}: {error.strerror}") from error
    names = [name for name in names if name.lower().endswith(suffixes) and not is_litter(name)]
    if not names:
        raise DataError(f"{folder} has no {' or '.join(suffixes)} files")
    return [folder / name for name in sorted(names, key=natural_key)]


def _of_one_size(paths: list[Path], read: Callable[[Path], np.ndarray]) -> list[np.ndarray]:
    """The contents of files that must have one shape; a file that is named twice is read once."""
    by_path = {path: read(path) for path in dict.fromkeys(paths)}
    first = by_path[paths[0]].shape[:2]
    for path, values in by_path.items():
        if values.shape[:2] != first:
            height, width = values.shape[:2]
            raise DataError(
                f"{path} is {width}x{height}, but {paths[0].name} beside it is {first[1]}x{first[0]}; "
                "the files of a clip must be of one size"
            )
    return [by_path[path] for path in paths]
