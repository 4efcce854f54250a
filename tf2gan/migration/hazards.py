"""The hazard catalogue: what goes wrong as a GAN moves from TF1 to TF2.

Each entry says what the fault is, how it comes about, what one sees of it, and what
to do. Titles name the values of the usual case; a report quotes those it measured.
"""

import dataclasses
from typing import Dict


@dataclasses.dataclass(frozen=True)
class Hazard:
    """One way in which a port that looks right is not.

    Attributes:
      key: by which reports and tests refer to it.
      title: what is wrong, in a few words.
      cause: how it comes about.
      symptom: what one sees of it, or does not.
      cure: what to do.
    """

    key: str
    title: str
    cause: str
    symptom: str
    cure: str


_ENTRIES = (
    Hazard(
        "batch-norm-momentum",
        "Batch-norm momentum 0.9 instead of 0.99",
        "The papers' or another library's default was taken over.",
        "Training losses are the same; samples differ.",
        "Write out momentum: 0.99 in tf.layers and Keras, 0.999 in "
        "tf.contrib.layers.",
    ),
    Hazard(
        "batch-norm-momentum-inverted",
        "Batch-norm momentum from a framework that weighs the new value",
        "PyTorch's momentum is one minus TensorFlow's.",
        "The averages follow the last batch; losses are the same.",
        "Use one minus the number.",
    ),
    Hazard(
        "batch-norm-epsilon",
        "Batch-norm epsilon 1e-5 instead of 1e-3",
        "Papers and other libraries have 1e-5.",
        "Channels of low variance come out larger.",
        "Write out epsilon.",
    ),
    Hazard(
        "leaky-relu-slope",
        "Leaky ReLU slope 0.3 instead of 0.2",
        "keras.layers.LeakyReLU has 0.3, tf.nn.leaky_relu 0.2.",
        "The loss is off from the first step.",
        "Write out the slope.",
    ),
    Hazard(
        "adam-epsilon",
        "Adam's epsilon 1e-7 instead of 1e-8",
        "1e-8 is TF1's default, 1e-7 Keras's.",
        "Weights with small gradients move less; losses agree for a while.",
        "Pass epsilon=1e-8.",
    ),
    Hazard(
        "adam-beta1",
        "Adam's beta1 0.5 instead of 0.9",
        "The DCGAN paper's value was put in while porting.",
        "The first step is the same size, later ones are not.",
        "Keep the constants of the code that is ported.",
    ),
    Hazard(
        "adam-beta2",
        "Adam's beta2 0.99 instead of 0.999",
        "A typing error, or another optimizer's default.",
        "The first step is the same size, later ones are not.",
        "Compare the slots, not only the losses.",
    ),
    Hazard(
        "learning-rate",
        "Learning rate 2e-4 instead of 1e-3",
        "The paper's value was put in while porting.",
        "Slots agree after the first step, weights do not.",
        "Keep the constants of the code that is ported.",
    ),
    Hazard(
        "updates-never-run",
        "UPDATE_OPS are never run",
        "Nothing depends on the collection, or the layers are called without "
        "training.",
        "Averages stay 0 and 1: losses look fine, samples are bad.",
        "Make the train op depend on them; in Keras call with training=True, and "
        "give tf2gan.layers.update_ops, if it is used, scopes that its layers have.",
    ),
    Hazard(
        "updates-scoped",
        "Each step updates its own network only, where the original updates "
        "both",
        "The port does what one would write today.",
        "Averages move half as often: the effective momentum is another.",
        "Run both networks' updates in both steps, or decide for the change.",
    ),
    Hazard(
        "updates-unscoped",
        "Every step updates both networks, where the original updates its own",
        "A Keras layer updates whenever it is called for training.",
        "Averages move twice as often.",
        "With tf2gan.layers.BatchNormalization, choose by tf2gan.layers.update_ops. "
        "It has no effect on keras.layers.BatchNormalization: put those in their "
        "place, or assign the other network's averages their old values after the "
        "step.",
    ),
    Hazard(
        "updates-without-real",
        "The generator's step updates the discriminator on generated images "
        "only",
        "Under unscoped UPDATE_OPS the original feeds real images in that "
        "step too.",
        "The discriminator's averages lean to generated images.",
        "Call the discriminator on the real images too, or scope the updates.",
    ),
    Hazard(
        "updates-reversed",
        "Generated images come before real ones",
        "The order of the calls was exchanged; in TF1 without an order it is "
        "a race.",
        "The discriminator's averages differ by some thousandths; losses "
        "agree.",
        "Call on real images first.",
    ),
    Hazard(
        "updates-race",
        "Two updates of one average both read its old value",
        "What unordered updates in one session.run of TF1 mostly do.",
        "The averages differ by less than one per cent; nothing shows in the "
        "losses.",
        "Order them: the second reads after the first has written.",
    ),
    Hazard(
        "recording-raced",
        "The recorded script's own updates of a moving average raced",
        "The script updates an average on real and on generated images in one "
        "session.run and orders the two by nothing: either comes first, or both "
        "read the old value. It would record other averages each time.",
        "Moving averages of layers that are called twice differ, nothing else "
        "does.",
        "Leave the port as it is. scripts/audit_graph.py on the script's .meta "
        "lists the race; to be sure of the averages, record again with the second "
        "update under a control dependency on the first; to compare all else, "
        "replay with --averages_aside.",
    ),
    Hazard(
        "biased-variance",
        "The biased variance is averaged",
        "TF1's fused kernel returns n/(n-1) times it; Keras 3 averages it as "
        "it is.",
        "The averages are too small by 1/n; losses agree.",
        "Use tf2gan.layers.BatchNormalization.",
    ),
    Hazard(
        "frozen-inference",
        "A frozen discriminator normalizes with its moving averages",
        "training=False, or trainable = False, puts a Keras batch-norm layer into "
        "inference mode.",
        "The generator is trained against another discriminator than in TF1.",
        "Leave trainable alone: a tape takes gradients of the variables it is"
        " given.",
    ),
    Hazard(
        "sampling-statistics",
        "Samples are drawn with the statistics of their batch",
        "The generator is called with training=True, or without the argument "
        "fed.",
        "An image depends on the others of its batch.",
        "Call with training=False.",
    ),
    Hazard(
        "evaluation-updates",
        "Evaluating a loss moves the averages",
        "updates_collections=None in TF1, or a Keras call with training=True.",
        "Looking at the run changes it.",
        "Evaluate without updates.",
    ),
    Hazard(
        "step-count-shifted",
        "The step count is carried over one too high",
        "TF1 stores beta^(t+1), which was taken for beta^t.",
        "The first steps after a move are a little too large.",
        "Recover t from beta2's power: log(power) / log(beta2) - 1.",
    ),
    Hazard(
        "slots-exchanged",
        "First and second moments are exchanged",
        "Keras's optimizer variables are numbered; TF1 names them Adam and "
        "Adam_1.",
        "No error: they have the same shapes. Training jumps.",
        "Carry slots over by name.",
    ),
    Hazard(
        "powers-exact",
        "Adam computes beta^t exactly",
        "Keras does; TF1 multiplies a float32 variable once per step.",
        "6e-6 in the first step; in float64 the runs part within a hundred.",
        "Use tf2gan.optimizers.Adam where it must agree.",
    ),
    Hazard(
        "moment-rate-exact",
        "Adam's moments move by 1 - beta2 as written",
        "Keras takes 1 - 0.999 as Python does, TF1 that of the float32 number "
        "0.999, in float64 too.",
        "Second moments are 1.3e-5 larger from the first step on, first ones "
        "2.4e-7 smaller.",
        "Use tf2gan.optimizers.Adam where it must agree.",
    ),
    Hazard(
        "label-flipped",
        "The generator's label is flipped",
        "It asks for 0 on generated images, the discriminator's target.",
        "The generator learns to be found out.",
        "Ask for 1: the loss is -log D(G(z)).",
    ),
    Hazard(
        "loss-factor",
        "A loss has a factor of its own",
        "Many ports write (real + fake) / 2 where the original adds the two, or forget "
        "the 1/2 of least squares.",
        "With Adam hardly anything but the reported loss and epsilon's share.",
        "Keep the factor of the code that is ported.",
    ),
    Hazard(
        "another-loss",
        "The loss is of another kind, or against other labels",
        "Least squares, Wasserstein, hinge and cross entropy were confused, or "
        "labels of -1 and 1 with 0 and 1.",
        "The loss is off from the first step.",
        "Compute the loss of the code that is ported.",
    ),
    Hazard(
        "label-smoothed",
        "The label of real images is 0.9",
        "One-sided label smoothing was put in while porting.",
        "The discriminator's loss has another floor.",
        "Keep the labels of the code that is ported.",
    ),
    Hazard(
        "loss-of-probabilities",
        "Cross entropy of probabilities",
        "Keras clips them at 1e-7 unless from_logits=True.",
        "A confident logit costs 16 at most: its gradient is gone.",
        "Take it of logits.",
    ),
    Hazard(
        "simultaneous-updates",
        "Both gradients come from one forward pass",
        "Tutorials for TF2 update both networks at once; the original takes "
        "turns.",
        "The generator answers the discriminator of the step before.",
        "Take turns.",
    ),
    Hazard(
        "discriminator-twice",
        "The discriminator is trained twice per iteration",
        "Two fetches of its train op, or a loop from another GAN.",
        "It wins too early.",
        "Fetch its train op once.",
    ),
    Hazard(
        "leaky-relu-at-zero",
        "Leaky ReLU's gradient at exactly 0",
        "max(x, 0.2 x) passes 1 there, tf.nn.leaky_relu 0.2 (which it also "
        "rounds to float32, so that in float64 the activations differ by 1e-9"
        " too).",
        "Black pixels under zero biases are zeros: the first step differs, "
        "losses agree.",
        "Write the maximum, if the original does.",
    ),
    Hazard(
        "float32-inside",
        "A float64 model that computes in float32",
        "set_floatx came after the first layer, or an input was cast.",
        "A test in float64 that proves nothing.",
        "Assert the variables' dtype.",
    ),
    Hazard(
        "kernel-order",
        "A kernel is carried over in another order",
        "Its rows were reversed or transposed; a square kernel was read "
        "column by column.",
        "No error where the shape allows it.",
        "Verify an import by running both sides.",
    ),
    Hazard(
        "generator-output",
        "The generator ends in a sigmoid instead of a tanh",
        "The images lie in [0, 1], so the port put the output there too.",
        "Other samples, other gradients; training may even look better.",
        "Port first, improve afterwards.",
    ),
    Hazard(
        "trains-both",
        "The discriminator's step moves the generator too",
        "minimize without var_list, or a tape over both networks' variables.",
        "The generator is trained to help the discriminator.",
        "Give each optimizer its own variables.",
    ),
    Hazard(
        "shared-global-step",
        "One global step for both optimizers",
        "Both minimize calls were given the same variable.",
        "Schedules and summaries run at twice the pace.",
        "One step variable per optimizer.",
    ),
    Hazard(
        "gradient-clipped",
        "Gradients are clipped",
        "clipnorm came along with the optimizer's arguments.",
        "Slots and weights differ where gradients are large.",
        "Keep the constants of the code that is ported.",
    ),
    Hazard(
        "image-range",
        "Images in [-1, 1] instead of [0, 1]",
        "The tanh suggests it; the original did not do it.",
        "The discriminator sees other data.",
        "Check minimum and maximum of the first batch.",
    ),
    Hazard(
        "latent-distribution",
        "Latents from another distribution",
        "tf.random.normal is the habit of TF2 tutorials; the original is "
        "uniform.",
        "Samples of a converted generator look wrong, or too bold.",
        "Draw as the original does.",
    ),
    Hazard(
        "loss-summed",
        "A loss is summed over the batch instead of averaged",
        'reduce_sum, or a Keras loss with reduction="sum", in place of '
        "reduce_mean.",
        "The reported loss is larger by the batch size; under Adam the steps "
        "hardly change.",
        "Average over the batch.",
    ),
    Hazard(
        "gradient-sign",
        "A gradient has the opposite sign",
        "A loss was negated for an optimizer that ascends, or the reverse.",
        "The network gets worse at its own loss with every step.",
        "Minimize the loss; negate it once or not at all.",
    ),
    Hazard(
        "slots-of-another",
        "A tensor was carried over to another variable of its shape",
        "Tensors were matched by order or shape: the other network's, or the "
        "next layer's.",
        "No error: the shapes agree.",
        "Carry tensors over by name.",
    ),
)

HAZARDS: Dict[str, Hazard] = {entry.key: entry for entry in _ENTRIES}
