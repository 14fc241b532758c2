"""A model with its weights in another scheme."""

from ullage import formats
from ullage.catalog.at_load import word_said
from ullage.catalog.quantisations import words_for
from ullage.domain.advice import CostClass
from ullage.domain.case import Model, Settings
from ullage.domain.checkpoint import Checkpoint
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UllageError, UnsupportedModelError


def unquantised(model: Model) -> Checkpoint | None:
    """The weights in the model's own dtype; None where only quantised files are known."""
    if model.unquantised is not None:
        return model.unquantised
    return None if model.is_quantised else model.checkpoint


def quantised(model: Model, word: str) -> Model:
    """The model stored in the scheme of this word. Raises InputError, and UnsupportedModelError where its original is not known."""
    plain = unquantised(model)
    if plain is None:
        raise UnsupportedModelError(
            f"{model.name} is known as {model.checkpoint.scheme} only: give the unquantised model to compare schemes"
        )
    blueprint = Blueprint(architecture=model.architecture, tensors=plain.tensors)
    stored = formats.checkpoint(blueprint, Hyperparameters(formats.named_scheme(word), "--quant"))
    return _with(model, stored, plain, word.strip().lower())


def as_loaded(model: Model, engine: str, release: tuple[int, ...], settings: Settings) -> Model:
    """The model after what the settings have the engine quantise while it loads; what is quantised already stays as it is."""
    word = None if model.is_quantised else word_said(engine, release, settings)
    return model if word is None else quantised(model, word)


def word_of(engine: str, model: Model) -> str | None:
    """The word of the scheme a model is stored in, of those compared for an engine; None where it has none or none is known."""
    if not model.is_quantised:
        return None
    for row in words_for(engine):
        try:
            if quantised(model, row.word).checkpoint.scheme == model.checkpoint.scheme:
                return row.word
        except UllageError:
            return None
    return None


def cost_of(engine: str, model: Model) -> CostClass:
    """What the model's stored scheme costs: by bits a weight where no row names it."""
    if not model.is_quantised:
        return CostClass.NONE
    bits = 8 * model.checkpoint.nbytes / max(1, model.parameters)
    same = [row for row in words_for(engine) if row.bits <= bits]
    return same[0].cost if same else CostClass.QUALITY


def in_own_dtype(model: Model) -> Model | None:
    """The model before any scheme; None where that is what it is, or where it is not known."""
    return _with(model, model.unquantised, None, "") if model.unquantised is not None else None


def _with(model: Model, stored: Checkpoint, plain: Checkpoint | None, word: str) -> Model:
    return Model(
        name=model.name,
        source=model.source,
        architecture=model.architecture,
        checkpoint=stored,
        parameters=model.parameters,
        unread=model.unread,
        class_name=model.class_name,
        unquantised=plain,
        path=model.path,
        word=word,
    )
