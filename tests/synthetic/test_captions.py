"""Captions of synthetic clips: true, in sentences that training does not have, and questions whose answers are balanced."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from videomamba.schema import VideoMambaError
from videomamba.synthetic.actions import ACTIONS, NUMBERS
from videomamba.synthetic.captions import captions, choices, distinct, facts, questions
from videomamba.synthetic.dataset import write_dataset, write_distinct
from videomamba.synthetic.look import LOOKS, STYLES
from videomamba.synthetic.wordings import (
    HELD_OUT_PHRASES,
    HELD_OUT_SENTENCES,
    PATTERNS,
    PHRASES,
    QUESTIONS,
    SENTENCES,
    SYNONYMS,
    VERBS,
)

EVERY_ACTION = range(len(ACTIONS))


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text)


def all_captions(style: str, *, held_out: bool, seeds: int = 20) -> list[str]:
    count = len(HELD_OUT_SENTENCES if held_out else SENTENCES)
    clips = ((action, seed) for action in EVERY_ACTION for seed in range(seeds))
    return [text for clip in clips for text in captions(*clip, style, count=count, held_out=held_out)]


def fact_words(style: str) -> set[str]:
    """Every word that stands for a fact, not for the sentence around it."""
    look = LOOKS[style]
    names = {*look.inks, *look.papers, *look.shapes, *look.turners, look.dot, *look.openers, *NUMBERS.values()}
    names |= {other for name in names for other in SYNONYMS.get(name, ())}
    names |= {f"{name}s" for name in names} | {f"{name}es" for name in names}
    names |= {word for pattern in look.patterns for word in PATTERNS[pattern]} | set(VERBS) | {"are", "an"}
    names |= {form for forms in VERBS.values() for form in forms}
    names |= {rest for table in (PHRASES, HELD_OUT_PHRASES) for phrases in table.values() for _, rest in phrases}
    return {word for name in names for word in words(name)} - {"in", "a", "the", "from", "of"}


def pattern_of(caption: str, slots: set[str]) -> str:
    """The sentence with one "_" for each run of facts, and the little words inside of facts removed."""
    marked = " ".join("_" if word in slots else word for word in words(caption))
    marked = re.sub(r"\b(a|an|pair of|that is)\b", "", marked)
    return re.sub(r"_( |and|coloured|_)*_", "_", re.sub(r"\s+", " ", marked)).strip()


@pytest.mark.parametrize("style", STYLES)
def test_no_held_out_sentence_occurs_in_training_and_every_word_does(style: str) -> None:
    training, testing = all_captions(style, held_out=False), all_captions(style, held_out=True)
    assert not set(training) & set(testing)
    assert {word for text in testing for word in words(text)} <= {word for text in training for word in words(text)}
    slots = fact_words(style)
    known, unknown = ({pattern_of(text, slots) for text in texts} for texts in (training, testing))
    assert len(known) >= len(SENTENCES) and len(unknown) >= len(HELD_OUT_SENTENCES)
    assert not known & unknown
    assert not any(f" {new} " in f" {old} " for new in unknown for old in known)


def test_sentences_are_all_different_and_say_what_happens_to_what() -> None:
    assert len({*SENTENCES, *HELD_OUT_SENTENCES}) == len(SENTENCES) + len(HELD_OUT_SENTENCES)
    for sentence in (*SENTENCES, *HELD_OUT_SENTENCES):
        slots = set(re.findall(r"{(\w+)}", sentence))
        assert slots & {"thing", "bare", "thing_coloured", "thing_that"} and slots & {"does", "doing"}
    with_ground = [sum("ground" in one for one in table) / len(table) for table in (SENTENCES, HELD_OUT_SENTENCES)]
    assert min(with_ground) > 0.7
    assert set(PHRASES) == set(HELD_OUT_PHRASES) == set(ACTIONS)
    for action in ACTIONS:  # a phrase says one action only; "each other" needs two objects, a point some
        assert not set(PHRASES[action]) <= set(HELD_OUT_PHRASES[action])
        for other in set(ACTIONS) - {action}:
            theirs = {*PHRASES[other], *HELD_OUT_PHRASES[other]}
            assert not {*PHRASES[action], *HELD_OUT_PHRASES[action]} & theirs


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("held_out", [False, True])
def test_a_caption_names_what_is_drawn(style: str, held_out: bool) -> None:
    for action in EVERY_ACTION:
        for seed in range(10):
            what = facts(action, seed, style)
            for text in captions(action, seed, style, count=8, held_out=held_out):
                for thing in what.things:
                    assert any(name in text for name in SYNONYMS.get(thing.colour, (thing.colour,)))
                    assert any(name in text for name in SYNONYMS.get(thing.shape, (thing.shape,)))
                if "background" in text:
                    assert what.paper in text and any(word in text for word in PATTERNS[what.pattern])
                if len(what.things) > 2 or len(set(what.things)) < len(what.things):
                    assert NUMBERS[len(what.things)] in words(text)
                table = (HELD_OUT_PHRASES if held_out else PHRASES)[ACTIONS[action]]
                spoken = (f"{form} {rest}".strip() for verb, rest in table for form in (verb, *VERBS[verb]))
                assert any(phrase in text for phrase in spoken)


def test_captions_are_a_function_of_their_arguments() -> None:
    assert captions(0, 5, count=3) == [
        "a square that is orange goes to the left while the background is striped and mauve",
        "there is an orange square travelling leftwards, and the background is striped and mauve",
        "an orange square can be seen going to the left with a mauve striped background behind",
    ]
    assert captions(14, 5, count=1, held_out=True) == [
        "this shows six circles coloured blue flying out from the middle while the background is cloudy and mauve"
    ]
    for action in EVERY_ACTION:
        few, many = captions(action, 3, count=2), captions(action, 3, count=len(SENTENCES))
        assert many[:2] == few and len(set(many)) == len(SENTENCES)
    assert captions(3, 1) != captions(2, 1) and captions(3, 1, "line") != captions(3, 1)
    for count in (0, len(SENTENCES) + 1):
        with pytest.raises(ValueError, match=f"count: {count} captions"):
            captions(0, 0, count=count)
    for bad, message in (((16, 0), "action: 16"), ((0, -1), "seed: -1"), ((0, 0, "oil"), "style: 'oil'")):
        for write in (facts, captions, questions, choices):
            with pytest.raises(ValueError, match=message):
                write(*bad)


@pytest.mark.parametrize("style", STYLES)
def test_answers_to_a_kind_of_question_are_balanced(style: str) -> None:
    clips = [(action, seed, style) for action in EVERY_ACTION for seed in range(100)]
    answers: dict[str, Counter[str]] = {kind: Counter() for kind in QUESTIONS}
    for clip in clips:
        what, asked = facts(*clip), questions(*clip)
        assert len({one.kind for one in asked}) == len(asked) >= 3
        for one in asked:
            answers[one.kind][one.answer] += 1
            if one.kind in ("colour", "shape"):
                assert one.answer == getattr(what.things[0], one.kind) and len(what.things) == 1
        assert questions(*clip) == asked
    look = LOOKS[style]
    for kind, expected in (
        ("colour", look.inks),
        ("paper", look.papers),
        ("action", ACTIONS),
        ("pattern", look.patterns),
    ):
        assert len(answers[kind]) == len(expected)
    assert set(answers["count"]) == {"one", "two", "six", "seven", "eight", "nine"}
    assert set(answers["shape"]) == {*look.shapes, *look.turners, *look.openers}
    for kind, found in answers.items():
        share = sum(found.values()) / len(found)
        assert all(abs(number - share) < 5 * share**0.5 for number in found.values()), (kind, found)


@pytest.mark.parametrize("style", STYLES)
def test_choices_differ_in_one_fact(style: str) -> None:
    places: Counter[int] = Counter()
    for action in EVERY_ACTION:
        for seed in range(40):
            choice, what = choices(action, seed, style), facts(action, seed, style)
            assert len(set(choice.captions)) == 5
            right = choice.captions[choice.right]
            assert all(any(name in right for name in SYNONYMS.get(one.colour, (one.colour,))) for one in what.things)
            assert what.paper in right
            places[choice.right] += 1
            for wrong in set(choice.captions) - {right}:
                # Of one fact: the words outside of it are the same, in the same order.
                assert len(set(words(right)) ^ set(words(wrong))) <= 12
            assert choices(action, seed, style) == choice
    assert set(places) == set(range(5)) and min(places.values()) > 80


def test_distinct_clips_are_spread_over_the_actions() -> None:
    clips = [facts(action, seed) for seed in range(32) for action in EVERY_ACTION]
    chosen = distinct(clips, 256)
    assert chosen == sorted(set(chosen)) and len(chosen) == 256
    assert len({clips[i].subject for i in chosen}) == 256
    each = Counter(clips[i].action for i in chosen)
    assert len(each) == 16 and max(each.values()) - min(each.values()) <= 3
    with pytest.raises(ValueError, match="256 distinct clips were asked for, and the 160 clips have"):
        distinct(clips[:160], 256)


def test_the_files_of_a_data_set(tmp_path: Path) -> None:
    clips = write_dataset(tmp_path, clips_per_class=2, seed=7, num_frames=8, height=64, width=64, crf=40)
    read = {name: json.loads((tmp_path / name).read_text()) for name in (
        "captions.json", "captions_held_out.json", "questions.json", "choices.json"
    )}  # fmt: skip
    paths = [clip.path.relative_to(tmp_path).as_posix() for clip in clips]
    for name in ("captions.json", "captions_held_out.json", "choices.json"):
        assert [record["video"] for record in read[name]] == paths
    for i, clip in enumerate(clips):
        assert read["captions.json"][i]["caption"] == captions(clip.label, clip.seed)
        assert read["captions_held_out.json"][i]["caption"] == captions(clip.label, clip.seed, count=3, held_out=True)
        record, choice = read["choices.json"][i], choices(clip.label, clip.seed)
        assert (tuple(record["caption"]), record["answer"]) == (choice.captions, choice.right)
    asked = [(path, one) for path, clip in zip(paths, clips, strict=True) for one in questions(clip.label, clip.seed)]
    assert read["questions.json"] == [
        {"video": path, "question": one.text, "answer": one.answer} for path, one in asked
    ]
    file = write_distinct(tmp_path, clips, 30)
    rows = json.loads(file.read_text())
    assert file.name == "captions_distinct_30.json" and len({row["video"] for row in rows}) == 30
    assert all(
        row["caption"] == read["captions_held_out.json"][paths.index(row["video"])]["caption"][0] for row in rows
    )
    with pytest.raises(
        VideoMambaError, match=r"33 distinct clips were asked for.* write more clips per class"
    ) as caught:
        write_distinct(tmp_path, clips, 33)
    assert "\n" not in str(caught.value)
