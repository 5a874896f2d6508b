"""EHDM: one link student per neighbourhood heuristic, no GNN anywhere."""

from __future__ import annotations

from torch import Tensor

from structkd.distillers.graphs.llp import LLP


class EHDM(LLP):
    r"""LLP with a heuristic for a teacher.

    Qin et al., "Heuristic Methods are Good Teachers to Distill MLPs for Graph Link Prediction" (arXiv 2504.06193,
    2025; later "Weak Models Can be Good Teachers").

    From the abstract: MLPs are distilled from heuristics such as common neighbours, and a gating mechanism joins their
    complementary signals, at lower training cost than a GNN teacher. Our reading, with the authors' code for the
    details (repository ZongyueQin/EHDM, 84e7cb5): (1) each heuristic teaches one student with LLP's two losses, its raw
    scores against the student's sigmoid; (2) the students are frozen and `structkd.models.GatedEnsemble` learns from
    true and false links which of them to trust on which pair.

    Use one EHDM per student, each with its own `structkd.models.HeuristicTeacher`. The Structures are those of `LLP`,
    except that the teacher's `logits` hold the heuristic's scores as they are: counts or sums, not logits. A count is
    an integer, so any two different ones are told apart by the default margin.

    Args: those of `LLP`; `scores` concerns the student only.

    Returns `distribution` and `ranking`, zero when the student's compared scores equal the heuristic's.
    """

    def teacher_scores(self, logits: Tensor) -> Tensor:
        return logits
