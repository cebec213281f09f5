"""Names come from identity."""

from control_plane.compile.names import (
    EMBEDDINGS_PATH,
    GENERATION_PATHS,
    PICKED_PATHS,
    cluster_name,
    model_route_name,
    statistics_name,
)


def test_names_are_the_operators_own() -> None:
    """A pool's cluster and a model's route carry the name from the policy."""
    assert cluster_name("llama-70b") == "pool/llama-70b"
    assert model_route_name("meta-llama/Llama-3") == "model/meta-llama/Llama-3"


def test_picked_paths_are_generations_and_embeddings() -> None:
    """Nothing else has a model and a prompt."""
    assert set(PICKED_PATHS) == {*GENERATION_PATHS, EMBEDDINGS_PATH}


def test_statistics_have_no_dots_in_a_name() -> None:
    """Envoy would take what stands before the dot for the whole name."""
    assert statistics_name("pool/llama-3.1-8b") == "pool/llama-3_1-8b"
