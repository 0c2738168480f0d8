"""Pairs of media and text in tar shards: KEY.mp4 or KEY.jpg beside KEY.txt or KEY.json."""

from __future__ import annotations

import json
from collections.abc import Iterator

from videomamba.data.sets.formats.text_entry import CAPTIONS, TextEntry, to_entry
from videomamba.data.settings import TextTask
from videomamba.schema import IgnoredFile, VideoError, VideoMambaError
from videomamba.video.open import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from videomamba.video.shards import Sample, Shard, read_shard, samples

_MOST_BYTES = 1 << 20
"""Of a text: more is no caption, and would fill the memory."""


def read_pairs(path: str, task: TextTask, ignored: list[IgnoredFile], *, damaged: bool = False) -> Iterator[TextEntry]:
    """The pairs of the shard `path`, in its order; keys and files without a pair are appended to `ignored`.

    A caption is KEY.txt, else "caption" in KEY.json; questions and choices are KEY.json with the keys of a list. With
    `damaged` the pairs before a damaged place are read, and the damage is in `ignored`.

    Raises VideoError, one line that starts with the path, for a shard that is missing, damaged or holds no pair.
    """
    shard = read_shard(path)
    if shard.damage and not damaged:
        raise VideoError(path, shard.damage)
    if shard.damage:
        ignored.append(IgnoredFile(path, shard.damage))
    found, without = samples(shard, VIDEO_SUFFIXES | IMAGE_SUFFIXES)
    ignored += [*shard.ignored, *without]
    pairs = 0
    for place, sample in enumerate(found, start=1):
        media = str(shard.member(sample.media))
        try:
            entry = to_entry(_facts(shard, sample, task), task, place, media, media=media)
        except VideoMambaError as error:
            reason = str(error).removeprefix(f"{media}: ")
            ignored.append(IgnoredFile(media, f"is no pair: {reason}"))
        else:
            pairs += 1
            yield entry
    if not pairs:
        reason = f"; {ignored[-1]}" if ignored else ""
        raise VideoError(path, f"holds no pair of a video or image and its text{reason}")


def _facts(shard: Shard, sample: Sample, task: TextTask) -> dict[str, object]:
    facts: dict[str, object] = {}
    if "json" in sample.others and not (task == "captions" and "txt" in sample.others):
        content = _parsed(_text(shard, sample.others["json"]), sample)
        facts = {key: value for key, value in content.items() if key not in ("start", "end")}
    elif "txt" in sample.others and task == "captions":
        facts = {"caption": _text(shard, sample.others["txt"])}
    if task == "captions" and not set(facts) & set(CAPTIONS):
        raise VideoMambaError(f"there is no {sample.key}.txt beside it, and no caption in {sample.key}.json")
    return facts


def _parsed(text: str, sample: Sample) -> dict[str, object]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise VideoMambaError(f"{sample.key}.json is not valid JSON ({error})") from None
    if not isinstance(content, dict):
        raise VideoMambaError(f"{sample.key}.json is not an object")
    return {str(key).lower(): value for key, value in content.items()}


def _text(shard: Shard, name: str) -> str:
    member = shard.member(name)
    if member.size > _MOST_BYTES:
        raise VideoMambaError(f"{member.name} has {member.size} bytes; give texts of at most {_MOST_BYTES}")
    try:
        with member.open() as file:
            return file.read().decode("utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise VideoMambaError(f"{member.name} is not UTF-8 text ({error})") from None
