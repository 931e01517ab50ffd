"""Every registry has exactly the names that calib.config.choices lists."""

from calib.config import choices
from calib.data.dualbench import rendering
from calib.directions import estimators
from calib.interchange import formats, readers
from calib.interventions import contrasts, gates, grid, pictures, steering
from calib.judges import classifier_model, protocols
from calib.methods import iar_layer, two_sided
from calib.report.figures import fitted
from calib.scoring import judged


def test_estimators():
    known = {*choices.ESTIMATORS, *choices.SUBSPACE_ESTIMATORS}
    assert set(estimators.ESTIMATORS) == known


def test_contrasts():
    others = {"safety", "completion", "responses", "modality"}
    assert {*contrasts.BEHAVIOUR_CONTRASTS, *others} == set(choices.CONTRASTS)
    assert set(fitted._SIDES) == set(choices.CONTRASTS)
    assert set(choices.CONTRASTS_OF_PROMPTS) < set(choices.CONTRASTS)
    assert set(choices.SAMPLE_CONTRASTS) < set(choices.CONTRASTS)


def test_interventions():
    assert set(steering.AXES) == set(choices.OPERATORS)
    assert {"none", *gates.GATES} == set(choices.GATES)
    assert {"all", *grid.BANDS} == set(choices.LAYER_BANDS)
    assert {"own", *pictures.PICTURES} == set(choices.COMPARISON_PICTURES)
    assert set(two_sided.PROMPTS_READ) == set(choices.PROBE_PROMPTS)
    assert set(iar_layer.EXTRACTORS) == set(choices.PROBE_DIRECTIONS)
    assert set(choices.READ_POSITIONS) - {"instruction_end"} < set(choices.POSITIONS)


def test_judges_and_metrics():
    assert set(judged.MAPPINGS) == set(choices.MAPPINGS)
    assert set(choices.JUDGE_LABELS) == set(choices.LABELS) - {"blocked"}
    assert set(protocols.PROTOCOLS) == set(choices.PROTOCOLS)
    assert set(classifier_model._CLASSES) == set(choices.CLASSIFIER_KINDS)


def test_files():
    assert {"native", *formats.FORMATS} == set(choices.EXPORT_FORMATS)
    assert {"native", *readers.READERS} == set(choices.IMPORT_FORMATS)


def test_data():
    assert ("original", *choices.PERTURBATIONS) == rendering.VARIANTS
