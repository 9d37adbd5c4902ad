"""A listing as Elasticsearch knows it: what is searched, filtered, counted and sorted by; and what means the same."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django_elasticsearch_dsl import Document, fields
from django_elasticsearch_dsl.registries import registry
from elasticsearch.dsl import analyzer, token_filter

from marketplace.models import AIModel

#: Phrases of one line mean the same. Where the catalogue has another form of a word, its stem finds it anyway.
SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("speech to text", "speech recognition", "stt", "asr", "transcription", "transcribe", "transcriber", "dictation"),
    ("text to speech", "speech synthesis", "voice synthesis", "tts", "read aloud"),
    ("llm", "large language model", "chat", "chatbot", "assistant"),
    ("ocr", "optical character recognition", "text recognition"),
    ("text to image", "image generation", "image generator", "picture generator"),
    ("image", "picture", "photo", "photograph"),
    ("embedding", "embeddings", "vectors", "vectorizer"),
    ("translation", "translate", "translator"),
    ("summarization", "summarisation", "summarize", "summarise", "summary", "tldr"),
    ("identification", "identify", "recognition", "recognise", "recognize", "detection", "detect", "detector"),
    ("classification", "classify", "classifier"),
    ("moderation", "content moderation", "content filter", "safety filter"),
    ("spellcheck", "spell check", "spelling", "proofreading"),
    ("sentiment", "sentiment analysis", "opinion mining", "polarity"),
    ("sarcasm", "irony"),
    ("code", "coding", "programming", "source code"),
    ("pii", "personal data", "personal information"),
    ("nsfw", "nudity", "adult content"),
    ("diarization", "diarisation", "speaker separation"),
    ("fraud", "scam"),
    ("upscale", "upscaling", "super resolution", "enlarge"),
    ("generator", "generation", "maker", "creator"),
    ("forecast", "forecasting", "prediction"),
    ("rerank", "reranking", "reranker"),
    ("weather", "meteorology"),
    ("music", "song"),
)
#: A rule of Solr's format for each line: every phrase stands for all of them.
_synonyms = token_filter("catalogue_synonyms", "synonym_graph", synonyms=[", ".join(line) for line in SYNONYMS])
_stems = token_filter("catalogue_stems", "stemmer", language="english")
_stops = token_filter("catalogue_stops", "stop", stopwords="_english_")
listed = analyzer("listed", tokenizer="standard", filter=["lowercase", "asciifolding", _stops, _stems])
#: Synonyms are applied to what is asked, not to what is stored: a new one needs no rebuild of every document.
asked = analyzer("asked", tokenizer="standard", filter=["lowercase", "asciifolding", _synonyms, _stops, _stems])
plain = analyzer("plain", tokenizer="standard", filter=["lowercase", "asciifolding"])


def words(**more: Any) -> Any:
    return fields.TextField(analyzer=listed, copy_to=["everything", "everything_plain"], **more)


@registry.register_document
class ListingDocument(Document):
    """A public listing. Its `_id` is the model's."""

    everything = fields.TextField(analyzer=listed, search_analyzer=asked)
    everything_plain = fields.TextField(analyzer=plain)  # as typed, to correct by and to complete the last word
    id = fields.KeywordField()
    name = words(fields={"plain": fields.TextField(analyzer=plain)})
    slug = fields.KeywordField()
    slug_words = words()
    publisher = fields.KeywordField()
    publisher_words = words()
    category = fields.KeywordField()
    category_words = words()
    capabilities = fields.KeywordField()
    capability_words = words()
    description = words()
    is_callable = fields.BooleanField()
    demand = fields.LongField()
    published_at = fields.DateField()
    rating_order = fields.LongField()
    rating_tenths = fields.IntegerField()
    price_type = fields.KeywordField()
    price_order = fields.LongField()
    latency_order = fields.LongField()

    class Index:
        name = settings.ELASTICSEARCH_INDEX
        settings = {"number_of_shards": 1, "number_of_replicas": 0}

    class Django:
        model = AIModel
        ignore_signals = True  # indexing is a sweep: saving a listing never waits for another server
        auto_refresh = False

    def get_queryset(self) -> Any:
        return AIModel.objects.published().select_related("publisher").order_by("pk")

    def prepare_id(self, row: AIModel) -> str:
        return str(row.pk)

    def prepare_slug_words(self, row: AIModel) -> str:
        return row.slug.replace("-", " ").replace(".", " ")

    def prepare_publisher(self, row: AIModel) -> str:
        return row.publisher.slug

    def prepare_publisher_words(self, row: AIModel) -> str:
        return f"{row.publisher.name} {row.publisher.slug.replace('-', ' ')}"

    def prepare_category_words(self, row: AIModel) -> str:
        return row.category.replace("-", " ")

    def prepare_capability_words(self, row: AIModel) -> str:
        return " ".join(row.capabilities).replace("_", " ")

    def prepare_everything(self, row: AIModel) -> None:
        """Copied to, never sent."""

    def prepare_everything_plain(self, row: AIModel) -> None:
        """Copied to, never sent."""

    def prepare_capabilities(self, row: AIModel) -> list[str]:
        return list(row.capabilities)
