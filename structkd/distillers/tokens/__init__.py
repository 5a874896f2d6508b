"""Distillers that compare the tokens of whole batches; one paper a file."""

from structkd.distillers.tokens.trg import TRG

__all__ = ["TRG"]
