"""The engine and its script."""

import pytest

from examples.model_server import eliza, script


def converse(*turns: str) -> list[str]:
    return [eliza.respond(turns[: at + 1]) for at in range(len(turns))]


def test_the_conversation_of_1966():
    answers = converse(
        "Men are all alike.",
        "They're always bugging us about something or other.",
        "Well, my boyfriend made me come here.",
        "He says I'm depressed much of the time.",
        "It's true. I am unhappy.",
        "My mother takes care of me.",
    )
    assert answers == [
        "In what way?",
        "Can you think of a particular example?",
        "Your boyfriend made you come here?",
        "I am sorry to hear that you are depressed.",
        "Do you think coming here will help you not to be unhappy?",
        "Tell me more about your family.",
    ]


def test_memory_answers_when_nothing_else_can():
    answers = converse("My boat leaks.", "Xyzzy.", "Xyzzy.")
    assert answers[1] == "Let us come back to what you said earlier: your boat leaks."
    assert answers[2] in script.ON_NOTHING


def test_rules_take_turns_and_a_seed_moves_the_first():
    turn = "I am tired of Mondays"
    first, second = converse(turn, turn)
    assert first != second
    assert eliza.respond([turn], seed=1) == second


def test_the_same_conversation_has_the_same_answer():
    turns = ["Hello", "I need a holiday", "because I work too much", "my boss hates me"]
    assert len({eliza.respond(turns, seed=7) for _ in range(5)}) == 1


@pytest.mark.parametrize(
    ("said", "reflected"),
    [
        ("I love my cat", "you love your cat"),
        ("what you said to me about your dog", "what I said to you about my dog"),
        ("you are mine", "I am yours"),
        ("are you sure I was right", "am I sure you were right"),
        ("I gave it to you", "you gave it to me"),
        ("Anna told me about you", "Anna told you about me"),
    ],
)
def test_reflection(said: str, reflected: str):
    assert eliza.reflect(said.split()) == reflected


def test_every_way_through_the_script_ends_in_an_answer():
    def targets(word: str) -> set[str]:
        return {a[1:] for rule in eliza.RULES[word].rules for a in rule.answers if a.startswith("=")}

    for word in eliza.RULES:
        reached, ahead = set(), {word}
        while ahead:
            reached |= ahead
            ahead = {target for name in ahead for target in targets(name)}
            assert word not in ahead, f"{word} leads back to itself"
            assert ahead <= eliza.RULES.keys()
            ahead -= reached


@pytest.mark.parametrize(
    "text", ["", "   ", "?!…", "😀", "名前は何ですか", "i", "my", "you me", "I you", "no one", "' - '"]
)
def test_anything_gets_an_answer(text: str):
    answer = eliza.respond([text])
    assert answer
    assert "(" not in answer
    assert not answer.startswith("=")


def test_all_answers_of_all_rules_can_be_filled():
    for keyword in eliza.RULES.values():
        for rule in keyword.rules:
            parts = [["part"]] * sum(item[0] in "*+@" for item in rule.pattern)
            for answer in rule.answers:
                assert "(" not in eliza._fill(answer, parts)


def test_nobody_talking_yet_gets_a_greeting():
    assert eliza.respond([]) == script.GREETINGS[0]
