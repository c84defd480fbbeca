"""train.toml, key by key. Each field's docstring is the comment that `prep init` writes."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from schemas.recipes.section import Section

ModelKind = Literal["sd15", "sdxl"]
AdapterKind = Literal["lora", "locon", "dora", "loha", "lokr", "dylora", "full"]
Category = Literal[
    "general",
    "artist",
    "copyright",
    "character",
    "meta",
    "trigger",
    "quality",
    "rating",
    "year",
    "sentence",
]
Side = Annotated[int, Field(ge=8)]
Share = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["fp32", "fp16", "bf16"]


class ModelSection(Section):
    """The checkpoint that the adapter is trained on."""

    path: str
    """a .safetensors or .ckpt file, a diffusers folder, or a Hub id"""
    kind: Literal["", "sd15", "sdxl"] = ""
    """sd15 or sdxl; empty: found from the file, which is checked when this is given"""
    vae: str = ""
    """another VAE (a file or a diffusers folder); empty: the checkpoint's own"""
    prediction: Literal["epsilon", "v"] = "epsilon"
    """what the U-Net predicts; "v" for v-prediction checkpoints"""
    zero_terminal_snr: bool = False
    """the last timestep is pure noise; only with prediction = "v", for models trained so"""
    clip_skip: int = Field(2, ge=1, le=12)
    """the text encoder's layer counted from its end; 1 is the last; SDXL always takes 2"""
    tokenizer: str = ""
    """a folder with CLIP's vocab.json and merges.txt, for a checkpoint that has none with it"""
    storage: Literal["same", "fp8"] = "same"
    """of the frozen weights: "same" as computing, or "fp8", a byte each, for small cards"""
    offload: str = ""
    """blocks whose frozen weights wait in main memory, such as "IN04-08,M00" or "all"; slower"""

    @model_validator(mode="after")
    def _noise_in_v(self) -> "ModelSection":
        if self.zero_terminal_snr and self.prediction != "v":
            raise ValueError(
                'zero_terminal_snr needs prediction = "v": where all is noise, to predict the noise'
                " says nothing of the picture"
            )
        return self


class LatentsSection(Section):
    """The geometry of training: one owner, read by `prep latents` and `train` alike."""

    resolution: Side | tuple[Side, ...] = 512
    """pixels; a bucket's area is at most this squared; several as a list: images are in each"""
    min: int = Field(256, ge=8)
    """shortest side of a bucket, in pixels"""
    max: int = Field(2048, ge=8)
    """longest side of a bucket, in pixels"""
    step: int = Field(64, ge=8, multiple_of=8)
    """sides of buckets are multiples of this many pixels"""
    upscale: bool = False
    """enlarge images that are smaller than their bucket; false gives them a smaller bucket"""
    buckets: Literal["log", "kohya"] = "log"
    """how the nearest shape is found: by log ratio, or as sd-scripts does"""
    flip: bool = False
    """every other exposure is mirrored; not for characters with anything on one side alone"""
    color: bool = False
    """two of three exposures have their colours shifted a little, one way or the other"""

    @model_validator(mode="after")
    def _ordered(self) -> "LatentsSection":
        for side in self.resolutions:
            if not self.min <= side <= self.max:
                raise ValueError(
                    f"min {self.min}, resolution {side} and max {self.max} must stand in this order"
                )
        return self

    @field_validator("resolution", mode="before")
    @classmethod
    def _list_of_sides(cls, given: Any) -> Any:
        if not isinstance(given, list | tuple):
            return given
        sound = (isinstance(side, int) and side is not True and side >= 8 for side in given)
        if not given or not all(sound):
            raise ValueError(f"{list(given)} is no list of pixels, such as [512, 768]")
        return tuple(given)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Each resolution once, in ascending order."""
        given = self.resolution
        return (given,) if isinstance(given, int) else tuple(sorted(set(given)))


class BlockSection(Section):
    """What holds for some blocks instead of the adapter's figures."""

    dim: int | None = Field(None, ge=0)
    """rank; 0: these blocks are not trained"""
    alpha: float | None = Field(None, gt=0)
    """the change is scaled by alpha / dim"""
    lr: float | None = Field(None, ge=0)
    """a factor of the learning rate; 0: these blocks are not trained"""


class AdapterSection(Section):
    """What is trained."""

    kind: AdapterKind = "lora"
    """lora, locon (3x3 convolutions too), dora, full (whole weights, whatever dim says), or loha,
    lokr, dylora by lycoris-lora"""
    dim: int = Field(16, ge=1)
    """rank"""
    alpha: float = Field(4.0, gt=0)
    """the change is scaled by alpha / dim"""
    conv_dim: int = Field(0, ge=0)
    """rank beside 3x3 convolutions; 0 leaves the U-Net's resnets and samplers alone"""
    conv_alpha: float = Field(0.0, ge=0)
    """alpha beside 3x3 convolutions; 0: the same as alpha"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """the part of the inputs that the adapter does not see, drawn anew at every step"""
    blocks: str = "all"
    """which blocks: "all", "unet", or names such as "IN04-07,OUT03-06,TE" """
    start: str = ""
    """an adapter file of the same kind and ranks to go on from"""
    block: dict[str, BlockSection] = Field(default_factory=dict)
    """by name: "OUT03-06" = { dim = 16, alpha = 4, lr = 0.5 }, where lr is a factor"""

    @model_validator(mode="after")
    def _convolutions(self) -> "AdapterSection":
        if self.conv_dim and self.kind == "lora":
            raise ValueError(
                'conv_dim is for 3x3 convolutions, which kind = "lora" does not change: use kind ='
                ' "locon"'
            )
        if self.kind == "locon" and not self.conv_dim:
            raise ValueError(
                'kind = "locon" without conv_dim changes no 3x3 convolution: give conv_dim, or use'
                ' kind = "lora"'
            )
        return self


class OptimizerSection(Section):
    """How it is trained."""

    name: str = "AdamW"
    """AdamW, Lion, DAdaptLion, Prodigy, Adafactor, ScheduleFreeAdamW, AdamW8bit ..."""
    lr: float = Field(1e-4, ge=0)
    """learning rate of the U-Net's modules"""
    text_encoder_lr: float | None = Field(None, ge=0)
    """learning rate of the text encoder's modules; left out: the same as lr"""
    args: dict[str, Any] = Field(default_factory=dict)
    """any argument of the optimizer, such as { weight_decay = 0.01 }"""
    schedule: Literal["constant", "linear", "cosine", "restarts", "polynomial", "rex"] = "cosine"
    """how the learning rate goes over the steps"""
    warmup: int = Field(0, ge=0)
    """steps over which the learning rate climbs from 0"""
    cycles: int = Field(1, ge=1)
    """of "restarts": how often it falls from the full rate"""
    power: float = Field(1.0, gt=0)
    """of "polynomial": 1 is linear, 2 falls faster at first"""
    clip: float = Field(1.0, ge=0)
    """largest norm of the gradient; 0 does not clip"""
    ema: float = Field(0.0, ge=0, lt=1)
    """decay of a moving average of the weights, which is what is saved; 0: none; 0.999 is usual"""


class StepsSection(Section):
    """How long, and in what portions."""

    total: int = Field(0, ge=0)
    """optimizer steps; one of total and epochs"""
    epochs: int = Field(0, ge=0)
    """times through the images with their repeats"""
    batch: int = Field(1, ge=1)
    """images in a forward pass"""
    accumulate: int = Field(1, ge=1)
    """forward passes in a step"""
    precision: Precision = "fp32"
    """of computing: fp32, fp16 or bf16; what is trained always stays fp32"""
    checkpointing: bool = False
    """gradient checkpointing: less memory, about a quarter slower"""
    compile: bool = False
    """compile the U-Net's transformer blocks: minutes at the start, for long runs on CUDA"""

    @model_validator(mode="before")
    @classmethod
    def _never_pure_half(cls, values: Any) -> Any:
        for key in ("full_fp16", "full_bf16"):
            if isinstance(values, dict) and key in values:
                raise ValueError(
                    f"{key} is never used: weights trained in half precision learn nothing; set"
                    " precision, which is of computing alone"
                )
        return values

    @model_validator(mode="after")
    def _one_length(self) -> "StepsSection":
        if (self.total > 0) == (self.epochs > 0):
            raise ValueError("give one of total and epochs, the other stays 0")
        return self


class CaptionSection(Section):
    """How captions become text in training."""

    shuffle: bool = True
    """shuffle the tags between the fixed head and tail, anew at every exposure"""
    drop_caption: float = Field(0.0, ge=0, le=1)
    """the part of exposures that see no caption at all; 0.1 is usual for styles"""
    drop_tag: dict[Category, Share] = Field(default_factory=dict)
    """the part of tags dropped, by category, such as { general = 0.1 }; the head always stays"""
    tokens: Literal[75, 150, 225] = 225
    """longest caption in tokens; what is beyond is cut at a tag, counted and reported"""


class HuberSection(Section):
    """The width of the middle in which Huber losses are squares."""

    schedule: Literal["constant", "exponential", "snr"] = "snr"
    """how it goes over the timesteps, from 1 where there is little noise to c"""
    c: float = Field(0.1, gt=0, le=1)
    """its least"""


class LossSection(Section):
    """What is minimised."""

    kind: Literal["l2", "huber", "smooth_l1"] = "l2"
    """of each pixel; Huber's minds outliers less"""
    huber: HuberSection = HuberSection()
    min_snr: float = Field(0.0, ge=0)
    """gamma of min-SNR, which weighs timesteps with little noise less; 5 is usual, 0: none"""
    debiased: bool = False
    """weigh timesteps by the inverse of the signal-to-noise ratio's root"""
    noise_offset: float = Field(0.0, ge=0)
    """noise of a whole channel, for darker darks; 0.05 is usual"""
    input_perturbation: float = Field(0.0, ge=0)
    """more noise in what the U-Net sees than it is to find; 0.1 is usual"""
    timesteps: tuple[int, int] = (0, 1000)
    """train on timesteps from the first to below the second"""
    mask: Literal["none", "alpha"] = "none"
    """of each image's loss: "alpha" leaves out what is transparent in it"""
    prior: Literal["image", "model"] = "image"
    """what regularization images teach: themselves, or "model": what the frozen model predicts"""
    prior_weight: float = Field(1.0, ge=0)
    """the loss of regularization images is multiplied by this"""
    skip_nonfinite: int = Field(10, ge=0)
    """steps in a row whose loss or gradient is not finite that are skipped before training stops"""

    @model_validator(mode="after")
    def _timesteps_in_order(self) -> "LossSection":
        first, end = self.timesteps
        if not 0 <= first < end <= 1000:
            raise ValueError(
                f"timesteps are [{first}, {end}]: the first is 0 or more and below the second,"
                " which is 1000 or less"
            )
        return self


class SaveSection(Section):
    """What is kept while training."""

    every: int = Field(500, ge=0)
    """steps between checkpoints; 0: only at the end"""
    keep: int = Field(3, ge=1)
    """how many of the last checkpoints stay"""
    precision: Precision = "fp16"
    """of the adapter file"""


Sampler = Literal["ddim", "euler", "euler a", "dpm++ 2m", "dpm++ 2m karras", "unipc"]


class SampleSection(Section):
    """Pictures drawn during training, at fixed seeds."""

    every: int = Field(500, ge=0)
    """steps between samples; 0: only at the end"""
    prompts: tuple[str, ...] = ()
    """what to draw"""
    negative: str = ""
    """what to stay away from"""
    seeds: tuple[int, ...] = (1, 2, 3)
    """one picture per prompt and seed"""
    size: tuple[int, int] = (512, 512)
    """width and height in pixels, multiples of 8"""
    steps: int = Field(25, ge=1)
    """denoising steps"""
    guidance: float = Field(7.0, ge=0)
    """classifier-free guidance"""
    sampler: Sampler = "ddim"
    """ddim, euler, euler a, dpm++ 2m, dpm++ 2m karras or unipc"""


class ValidateSection(Section):
    """Images held out of training."""

    share: float = Field(0.0, ge=0, lt=1)
    """the part of the images held out to measure the loss on; duplicates stay on one side"""
    images: int = Field(100, ge=1)
    """how many of these are measured at most, the same every time"""
    timesteps: tuple[int, ...] = (100, 300, 500, 700, 900)
    """the loss is measured at each of these, from 0 (no noise) to 999, with fixed noise"""

    @model_validator(mode="after")
    def _timesteps_are_some(self) -> "ValidateSection":
        if not self.timesteps or not all(0 <= t < 1000 for t in self.timesteps):
            raise ValueError(
                f"timesteps are {list(self.timesteps)}: give at least one, from 0 to 999"
            )
        if len(set(self.timesteps)) < len(self.timesteps):
            raise ValueError(f"timesteps are {list(self.timesteps)}: give each of them once")
        return self


class FinishSection(Section):
    """The last cycles of a ReLoRA training, on a small set picked by hand."""

    set: str
    """which set of the manifest; the cycles before do not see it"""
    times: int = Field(1, ge=1)
    """cycles on it"""
    steps: int = Field(500, ge=1)
    """optimizer steps of each"""


class ReloraSection(Section):
    """Training in cycles, each adapter merged into the model before the next; `train relora`."""

    cycles: int = Field(3, ge=1)
    """how many, before those of finish"""
    steps: int = Field(4000, ge=1)
    """optimizer steps of each cycle; steps.total and epochs count only for plain training"""
    warm_start: int = Field(0, ge=0)
    """steps of the first cycle; 0: as many as the others"""
    curve: Literal["cycle", "whole"] = "cycle"
    """the schedule goes anew in each cycle, or once over the whole, falling to 0 at each restart"""
    lr_factor: float = Field(0.5, gt=0)
    """curve = "cycle": each cycle's rate is that of the one before times this"""
    warmup: int = Field(10, ge=0)
    """steps over which the rate climbs from 0 after each restart"""
    reset: Literal["zero", "prune"] = "zero"
    """what the optimizer remembers: nothing, or the largest part of its moments"""
    keep: float = Field(0.1, gt=0, lt=1)
    """reset = "prune": the part of each moment that stays"""
    rank: int = Field(0, ge=0)
    """of the LoRA that all cycles are joined into; 0: the sum of their ranks, exactly"""
    finish: FinishSection | None = None
    """{ set = "finish", times = 2, steps = 500 }: at the end, on that set alone"""


class TrainRecipe(Section):
    """train.toml: model, geometry, adapter, optimizer, samples."""

    data: str = "manifest.parquet"
    """the manifest to train from"""
    sets: tuple[str, ...] = ()
    """its sets to train on; empty: all"""
    out: str = "runs/first"
    """the run's folder"""
    seed: int = 42
    """every random choice follows from it"""
    model: ModelSection
    latents: LatentsSection = LatentsSection()
    adapter: AdapterSection = AdapterSection()
    optimizer: OptimizerSection = OptimizerSection()
    steps: StepsSection = StepsSection(total=4000)
    caption: CaptionSection = CaptionSection()
    loss: LossSection = LossSection()
    save: SaveSection = SaveSection()
    sample: SampleSection = SampleSection()
    validation: ValidateSection = Field(ValidateSection(), alias="validate")
    relora: ReloraSection = ReloraSection()
