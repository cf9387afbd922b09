"""Checks of what users pass in: the one place that raises ``TypeError`` and ``ValueError``.

Every function here takes a user's value and the name of the argument it came in, and either
returns the value in the form the rest of the package relies on or raises an error that says
which argument it was, what came and what was expected. Nothing is modified and nothing is
computed before all checks of a call have passed.

    messages    how a value and a shape are named in an error
    scalars     numbers, choices, dtypes, generators, paths
    arrays      kind, shape and dtype of arrays
    recurrent   sizes, inputs, states, gradients and streams of recurrent layers
    sequences   pooling, delays, initial parameters, truncated BPTT, trees
    diagnostics what can be looked at
    modules     modules, their parameters, pullbacks
    losses      arguments of the losses
    decoding    logits, ways to choose from them, step functions
    labels      label sequences, scores of steps, attention, encoder-decoders
    optimizers  hyperparameters and states of optimisers and schedules
    files       what is read and written
    texts       texts, vocabularies, layers of language models
    training    what a trainer is given
    estimators  what the estimators are given
    interop     modules and graphs of other frameworks
    conversion  what comes from Keras; files that are converted to other kinds
    encoders    what Seq2Seq and CTCRecognizer read and write

Imports numpy only; each module only from those above it. The rest of the package calls
``_validate.NAME`` with the names below. Axis letters: ``T`` time, ``B`` batch, ``I`` input,
``L`` layers, ``D`` directions, ``N`` sequences of a loss, ``C`` classes.
"""

from .arrays import exact_shape, floating, given, indices, last_axis, real_array, same_dtype
from .conversion import (
    another_file,
    built,
    ending,
    file_ending,
    fitting_widths,
    has_output_state,
    kept_dtype,
    keras_class,
    keras_entry,
    keras_layers,
    keras_table,
    keras_version,
    keras_weights,
    layer_kind,
    maskable,
    masked_input,
    masks_first,
    met_once,
    named_once,
    no_whole_model,
    nonlinearity_given,
    one_after_another,
    one_class,
    one_dtype,
    one_module,
    table_kind,
    tensors_of,
)
from .decoding import choosing, function, gatherable, log_probabilities, logits, stepped, token, tokens
from .diagnostics import (
    hidden_state,
    known_parameters,
    of_class,
    recurrent_weights,
    results,
    step,
    supported_cell,
    thresholds,
)
from .encoders import aligned, encoder_inputs, has_attention, label_classes
from .estimators import (
    cell_options,
    exogenous,
    first_classes,
    forecast_series,
    known_labels,
    label_dtype,
    numeric_targets,
    one_for_each,
    parameter_dtype,
    partial_class_weight,
    poolable,
    random_generator,
    same_classes,
    same_outputs,
    sequence_list,
    sequence_weights,
    step_labels,
    step_weights,
    targets_given,
    thread_count,
    total_weights,
)
from .files import refuse_file, tensors_to_write, zip_names
from .interop import (
    convertible,
    expressible,
    expressible_options,
    framework_module,
    graph_input,
    named_inputs,
    refuse,
    refuse_node,
)
from .labels import all_came_back, encoder_decoder, label_list, label_sequences, labellings, memory, queries, step_scores
from .losses import broadcast_weights, class_targets, clusters, cross_entropy, ctc, elementwise
from .modules import (
    known_name,
    module,
    module_list,
    open_edit,
    pullback_ready,
    sequential_modules,
    state_arrays,
    within_budget,
)
from .optimizers import (
    hyperparameters,
    instance,
    metric,
    optimizer_state,
    schedule_numbers,
    schedule_state,
    with_parameters,
)
from .recurrent import (
    activation,
    activations,
    alone,
    equal_widths,
    has_cell_states,
    has_recurrence,
    has_regulariser,
    learnable_state,
    output_gradients,
    recurrent_inputs,
    recurrent_sizes,
    recurrent_state,
    stream_input,
    streamable,
    zoneout,
)
from .scalars import (
    MAX_THREADS,
    boolean,
    float_dtype,
    generator,
    generator_or_none,
    integer,
    one_of,
    optional_positive,
    path,
    positive_int,
    probability,
    real,
    same,
    thread_variable,
)
from .sequences import acyclic, delayed, initialisation, loss_result, pooled, recurrent_layer, tree, truncated
from .texts import (
    alphabet,
    embedding_width,
    held_out,
    known_characters,
    known_words,
    language_options,
    one_token,
    text,
    text_length,
    text_or_bytes,
    vocabulary,
    vocabulary_size,
)
from .training import (
    callback_list,
    checkpoint_folder,
    codes,
    json_value,
    layout,
    length_of_run,
    long_enough,
    loss_function,
    ragged,
    schedule,
    schedule_of,
    series,
    source,
    trainable,
    valid_data,
)
