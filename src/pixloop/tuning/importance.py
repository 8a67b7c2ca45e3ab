"""How much each setting mattered.

The share of the variance of the scores that a setting explains, by functional ANOVA over a random
forest (Hutter et al., ICML 2014), as Optuna computes it. With few trials it is a hint.
"""

from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from pixloop.tuning.study import Study

#: With fewer there is no forest to speak of.
LEAST_TRIALS = 4
#: From here on it is more than a hint.
ENOUGH_TRIALS = 20


def importances(study: Study) -> dict[str, float]:
    """Key → its share, the largest first; empty with too few trials, or where all score alike."""
    done = [t for t in study.trials() if t.state == TrialState.COMPLETE]
    if len(done) < LEAST_TRIALS or len({t.value for t in done}) < 2:
        return {}
    varied = [k for k in study.space if len({t.params.get(k) for t in done}) > 1]
    if not varied:
        return {}
    evaluator = FanovaImportanceEvaluator(seed=0)
    shares = get_param_importances(study.found, evaluator=evaluator, params=varied)
    return {key: float(share) for key, share in shares.items()}
