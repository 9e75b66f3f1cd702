"""Tiny random checkpoints of every family, with a tokenizer of their own, as `save_pretrained` writes them.

97 words divide into neither 2 nor 4 equal parts; 4 heads of 8 allow the degrees 1, 2 and 4.
"""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = 97
LABELS = {0: "negative", 1: "neutral", 2: "positive"}
TEXTS = (
    "w5 w6 w7",
    "w8",
    "",
    "w90 w91 w92 w93 w94 w95 w96 w10 w11 w12 w13 w14 w15 w16 w17 w18 w19 w20 w21 w22 w23 w24",
    "w30 w31 unheard w32",
    "w5 w6 w8",
)
CONFIGS = {
    "bert": lambda: transformers.BertConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=33,
        pad_token_id=0,
        id2label=LABELS,
    ),
    "roberta": lambda: transformers.RobertaConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=35,
        type_vocab_size=1,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        id2label=LABELS,
    ),
    "distilbert": lambda: transformers.DistilBertConfig(
        vocab_size=WORDS,
        dim=32,
        n_layers=2,
        n_heads=4,
        hidden_dim=64,
        max_position_embeddings=33,
        pad_token_id=0,
        id2label=LABELS,
    ),
}
CLASSIFIERS = {
    "bert": transformers.BertForSequenceClassification,
    "roberta": transformers.RobertaForSequenceClassification,
    "distilbert": transformers.DistilBertForSequenceClassification,
}
ENCODERS = {
    "bert": transformers.BertModel,
    "roberta": transformers.RobertaModel,
    "distilbert": transformers.DistilBertModel,
}


def save_classifier(folder: Path, family: str, **changes: object) -> torch.nn.Module:
    """Save a random classifier of three labels and return it, in float32 and eval mode."""
    return _saved(folder, CLASSIFIERS[family](_config(family, changes)))


def save_encoder(folder: Path, family: str) -> torch.nn.Module:
    """Save a random plain encoder and return it."""
    return _saved(folder, ENCODERS[family](_config(family, {})))


def save_tokenizer(folder: Path) -> None:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: index for index, word in enumerate(special)}
    vocabulary.update({f"w{index}": index for index in range(len(special), WORDS)})
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def _config(family: str, changes: dict[str, object]) -> transformers.PretrainedConfig:
    config = CONFIGS[family]()
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def _saved(folder: Path, model: torch.nn.Module) -> torch.nn.Module:
    # Biases begin at zero; a bias that is added N times would not show.
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return model.eval()
