"""What the demonstration lists: four real models, and eight that are there to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.models import Invocation
from marketplace.services import Terms

MILLI = 1_000_000  # nano-units in a thousandth of the currency
CENT = 10 * MILLI


@dataclass(frozen=True, slots=True)
class Listing:
    """One model. `path`: where the demo's upstream answers for it; empty: nowhere, so it cannot be called."""

    name: str
    category: str
    description: str
    input: dict[str, Any]
    output: dict[str, Any]
    pricing: Terms
    license: str = ""
    context_tokens: int | None = None
    capabilities: tuple[str, ...] = ()
    version: str = "1.0.0"
    path: str = ""
    protocol: str = "json"
    upstream_model: str = ""
    kind: str = Invocation.Kind.INVOKE
    weight: int = 0  # of the made-up usage
    tokens: tuple[int, int] = (0, 0)  # about how many go in and come out


def text_input(description: str, example: str, **more: Any) -> dict[str, Any]:
    text = {"type": "string", "description": description, "maxLength": 20_000, "examples": [example]}
    return {"type": "object", "required": ["text"], "properties": {"text": text, **more}, "additionalProperties": False}


MESSAGES = {
    "type": "array",
    "minItems": 1,
    "description": "The conversation so far.",
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]},
            "content": {"type": ["string", "array", "null"]},
        },
    },
}
CHAT_IN = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": MESSAGES | {"examples": [[{"role": "user", "content": "I am a little tired of my job."}]]},
        "max_tokens": {
            "type": "integer",
            "minimum": 1,
            "maximum": 4096,
            "description": "The most that is answered.",
            "x-order": 1,
        },
        "temperature": {"type": "number", "minimum": 0, "maximum": 2, "x-order": 2},
        "seed": {"type": "integer", "description": "The same seed gives the same answer.", "x-order": 3},
        "stream": {"type": "boolean"},
    },
}
CHAT_OUT = {
    "type": "object",
    "required": ["choices"],
    "properties": {
        "choices": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "message": {
                        "type": "object",
                        "properties": {
                            "role": {"type": "string"},
                            "content": {"type": ["string", "null"], "description": "What the model says."},
                        },
                    },
                    "finish_reason": {"type": ["string", "null"], "description": "Why it ended: stop or length."},
                },
            },
        },
        "usage": {"type": "object", "description": "What is charged for, in tokens."},
    },
}
ELIZA_ANSWER = {
    "id": "chatcmpl-a400ad4b1cfb14a553055562",
    "object": "chat.completion",
    "created": 1795448247,
    "model": "eliza",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "How do you feel about your work?", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 16, "completion_tokens": 8, "total_tokens": 24},
}
IMAGE_IN = {
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string", "maxLength": 2_000, "description": "What the picture shows."},
        "size": {"enum": ["512x512", "1024x1024"], "default": "1024x1024"},
    },
}
AUDIO_IN = {
    "type": "object",
    "required": ["audio_url"],
    "properties": {
        "audio_url": {"type": "string", "maxLength": 500, "description": "Where the recording can be fetched."},
        "language": {"type": "string", "maxLength": 8, "description": "ISO 639 code; left out, it is found."},
    },
}
TEXT_OUT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}

REAL = (
    Listing(
        name="Sentiment",
        category="text-classification",
        description="""Tells whether an English text is positive, negative or neutral, and how strongly.

## Good for

- Sorting reviews, tickets and survey answers
- Short texts with slang, capitals and emoji

## Limits

It reads words and their order by rule (VADER, Hutto and Gilbert 2014); irony passes unnoticed, and other languages than
English are mostly neutral to it.
""",
        capabilities=("english", "scores"),
        input=text_input("English text.", "The delivery was quick and the people were friendly."),
        output={
            "type": "object",
            "required": ["label", "score", "scores"],
            "properties": {
                "label": {"enum": ["positive", "neutral", "negative"]},
                "score": {"type": "number", "minimum": -1, "maximum": 1},
                "scores": {
                    "type": "object",
                    "description": "The shares of the words; they add up to 1.",
                    "properties": {
                        name: {"type": "number", "minimum": 0, "maximum": 1}
                        for name in ("positive", "neutral", "negative")
                    },
                },
            },
            "examples": [
                {
                    "label": "positive",
                    "score": 0.4939,
                    "scores": {"positive": 0.286, "neutral": 0.714, "negative": 0.0},
                }
            ],
        },
        pricing=Terms(type="free"),
        license="MIT",
        path="/sentiment",
        weight=45,
    ),
    Listing(
        name="Language ID",
        category="language-identification",
        description="""Names the language that a text is written in: 139 languages, from a few words on.

## Good for

- Routing support mail to people who can read it
- Cleaning multilingual data sets

## Limits

Close relatives (Norwegian and Danish, Croatian and Serbian) are told apart less surely in short texts; look at
`confidence`.
""",
        capabilities=("multilingual", "scores"),
        input=text_input("A text in any language.", "Guten Morgen, wie geht es dir heute?"),
        output={
            "type": "object",
            "required": ["language", "confidence"],
            "properties": {
                "language": {"type": "string", "description": "ISO 639 code; `und` when it cannot be told."},
                "name": {"type": "string"},
                "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            },
            "examples": [{"language": "de", "name": "German", "confidence": 0.9974}],
        },
        pricing=Terms(type="paid", per_call_nano=MILLI),
        license="BSD-3-Clause",
        path="/language",
        weight=25,
    ),
    Listing(
        name="Eliza",
        category="chat",
        description="""The first chat program (Weizenbaum, 1966), behind the interface of today's. It listens, turns
your words around and asks back.

## Good for

- Trying a chat client, streaming included, without a bill
- Tests that need the same answer every time: it is a function of the conversation and a seed

## Limits

It knows nothing, on purpose.
""",
        capabilities=("streaming", "english", "openai-compatible"),
        input=CHAT_IN,
        output=CHAT_OUT | {"examples": [ELIZA_ANSWER]},
        pricing=Terms(type="paid", input_nano_per_million=40 * CENT, output_nano_per_million=120 * CENT),
        license="Apache-2.0",
        context_tokens=28_000,
        path="/v1",
        protocol="openai",
        upstream_model="eliza",
        kind=Invocation.Kind.CHAT,
        weight=20,
        tokens=(60, 14),
    ),
    Listing(
        name="Embed",
        category="embeddings",
        description="""Turns texts into vectors of length 1, so that texts which share words, or parts of words, lie
close together.

## Good for

- Search and grouping without a vector model of your own
- Tests: the same text is the same vector, everywhere

## Limits

It hashes words, pairs of words and groups of letters; of meaning it knows nothing.
""",
        capabilities=("multilingual", "openai-compatible"),
        input={
            "type": "object",
            "required": ["input"],
            "properties": {
                "input": {
                    "anyOf": [
                        {"type": "string", "minLength": 1},
                        {"type": "array", "minItems": 1, "maxItems": 256, "items": {"type": "string", "minLength": 1}},
                    ],
                    "description": "A text, or up to 256 of them.",
                    "examples": ["The cat sat on the mat."],
                },
                "dimensions": {"type": "integer", "minimum": 1, "maximum": 2048, "description": "256 unless given."},
                "encoding_format": {"enum": ["float", "base64"]},
            },
        },
        output={
            "type": "object",
            "required": ["data"],
            "properties": {"data": {"type": "array", "minItems": 1}, "usage": {"type": "object"}},
        },
        pricing=Terms(type="paid", input_nano_per_million=2 * CENT),
        license="Apache-2.0",
        context_tokens=28_000,
        path="/v1",
        protocol="openai",
        upstream_model="embed",
        kind=Invocation.Kind.EMBEDDING,
        weight=10,
        tokens=(420, 0),
    ),
)

NOT_CONNECTED = "\n\nThis listing is part of the demonstration: there is no model behind it.\n"
SHOWN = (
    Listing(
        name="Aurora 70B",
        category="chat",
        description="General chat and tool use for long documents. Reads 128,000 tokens, answers in 31 languages.",
        capabilities=("streaming", "tools", "json-output", "long-context"),
        input=CHAT_IN,
        output=CHAT_OUT,
        pricing=Terms(type="paid", input_nano_per_million=60 * CENT, output_nano_per_million=180 * CENT),
        license="Apache-2.0",
        context_tokens=128_000,
        version="3.1.0",
    ),
    Listing(
        name="Codewright 15B",
        category="code",
        description="Completes and explains source code in eighty programming languages, and writes tests for it.",
        capabilities=("streaming", "fill-in-the-middle"),
        input=CHAT_IN,
        output=CHAT_OUT,
        pricing=Terms(type="paid", input_nano_per_million=20 * CENT, output_nano_per_million=60 * CENT),
        license="MIT",
        context_tokens=65_536,
        version="2.0.3",
    ),
    Listing(
        name="Harbor Translate",
        category="translation",
        description="Translates between 46 languages and keeps markup, placeholders and line breaks where they are.",
        capabilities=("multilingual", "glossaries"),
        input=text_input(
            "What to translate.",
            "Where is the station?",
            target={"type": "string", "maxLength": 8, "description": "ISO 639 code of the language to translate into."},
        ),
        output=TEXT_OUT,
        pricing=Terms(type="paid", input_nano_per_million=1_500 * CENT),
        license="Proprietary",
        context_tokens=8_192,
        version="1.4.0",
    ),
    Listing(
        name="Precis",
        category="summarization",
        description="Shortens reports and minutes to a paragraph or to bullet points, with references to the source.",
        capabilities=("long-context", "references"),
        input=text_input("What to shorten.", "The committee met on Tuesday.", style={"enum": ["paragraph", "bullets"]}),
        output=TEXT_OUT,
        pricing=Terms(type="paid", per_call_nano=CENT),
        license="Proprietary",
        context_tokens=200_000,
    ),
    Listing(
        name="Lumen Image",
        category="image-generation",
        description="Pictures from words: photographs, drawings and flat graphics of up to a megapixel.",
        capabilities=("images",),
        input=IMAGE_IN,
        output={"type": "object", "required": ["image_url"], "properties": {"image_url": {"type": "string"}}},
        pricing=Terms(type="paid", per_call_nano=3 * CENT),
        license="OpenRAIL-M",
        version="2.2.0",
    ),
    Listing(
        name="Clarion",
        category="speech-to-text",
        description="Writes down recordings in 58 languages with time stamps, and tells the speakers apart.",
        capabilities=("audio", "multilingual", "speakers"),
        input=AUDIO_IN,
        output=TEXT_OUT,
        pricing=Terms(type="paid", per_call_nano=6 * MILLI),
        license="MIT",
        version="1.1.0",
    ),
    Listing(
        name="Cantor Voice",
        category="text-to-speech",
        description="Reads text aloud in twelve voices, with pauses and stress where a person would set them.",
        capabilities=("audio",),
        input=text_input(
            "What to read.", "Good evening, and welcome.", voice={"enum": ["alto", "tenor", "bass"], "default": "alto"}
        ),
        output={"type": "object", "required": ["audio_url"], "properties": {"audio_url": {"type": "string"}}},
        pricing=Terms(type="paid", amount_nano=20 * 100 * CENT, period="monthly"),
        license="Proprietary",
    ),
    Listing(
        name="Gatekeeper",
        category="moderation",
        description="Marks insults, threats and spam, with a score for each and the passage it rests on.",
        capabilities=("multilingual", "scores"),
        input=text_input("What to look at.", "You are all wonderful."),
        output={"type": "object", "required": ["flagged"], "properties": {"flagged": {"type": "boolean"}}},
        pricing=Terms(type="free"),
        license="Apache-2.0",
    ),
)
