"""A pool whose model is cut into two ranks by the product's own engine: a tiny random checkpoint, whose
answers are known by asking once while all is well."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from chaos.load import TEXTS
from chaos.model import LABELS, Ground, write_model
from chaos.world import ASKED_FOR, ELSEWHERE, Part

NAME, INSTANCE = "sharded", "sharded-0"
NEIGHBOUR = 7
SEED = 7
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def parts_of(folder: Path, ground: Ground) -> list[Part]:
    """The sub-model of two ranks, and its neighbour."""
    neighbour = write_model(folder / "beside-sharded", NEIGHBOUR, ground)
    ranks = {"parallelism": {"tensor": 2}, "engine": {"type": "Torch"}}
    return [
        Part(NAME, ASKED_FOR, write_checkpoint(folder / "checkpoint"), spec=ranks),
        Part("neighbour", ELSEWHERE, neighbour),
    ]


def write_checkpoint(folder: Path) -> Path:
    """A random classifier and a tokenizer that knows the words of the load."""
    words = sorted({word for text in TEXTS for word in text.replace(",", " , ").split()})
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *words))}
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        id2label=dict(enumerate(LABELS)),
    )
    model = transformers.BertForSequenceClassification(config)
    draw = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.2)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
