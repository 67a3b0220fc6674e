"""Train the small network by self-distillation (DINO with iBOT's masked patches) on the pictures of `distill_images`.

    python tools/distill_network.py --pool pool.npz --out network.safetensors [--minutes 60] [--device cuda]

A student sees two large crops, some patches of them hidden, and small crops; a teacher, the running mean of the
students, sees the large ones whole. The student must name the same prototypes for the whole view (Caron et al.,
*Emerging properties in self-supervised vision transformers*, ICCV 2021, eq. 1 to 3) and for each hidden patch
(Zhou et al., *iBOT*, ICLR 2022, eq. 2). The teacher's scores are balanced over the batch by three Sinkhorn-Knopp
rounds, as in DINOv2. Training goes on where a file ``OUT.state`` says it stopped; with the same seed, number of steps
and threads it gives the same network.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from distill_views import Views, hidden_patches, random_views
from distilled_network import DinoHead, NetworkPlan, SmallVit, save_network

LARGE_PX, SMALL_PX = 160, 64
LARGE_AREA, SMALL_AREA = (0.25, 1.0), (0.05, 0.2)
N_SMALL = 4

STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.05
LEARNING_RATE, WEIGHT_DECAY = 7e-4, 0.04
WARM_UP_STEPS = 200
REPORTED_STEPS = 50
HIDDEN_SHARE = (0.15, 0.5)
KIND_SHARES = {"scans": 0.5, "heads": 0.2, "scenes": 0.3}


class Model(nn.Module):
    """A network with the heads for whole views and for patches.

    There are fewer prototypes than views, or hidden patches, in a batch: balancing could not tell more apart.
    """

    def __init__(self, plan: NetworkPlan, batch: int) -> None:
        super().__init__()
        self.network = SmallVit(plan)
        self.view_head = DinoHead(plan.dim, max(2, batch * 4 // 3))
        self.patch_head = DinoHead(plan.dim, max(2, min(batch * 21, 8192)))


@torch.no_grad()
def balanced(cosines: torch.Tensor, rounds: int = 3) -> torch.Tensor:
    """Return the teacher's shares (n, prototypes) of each row, every prototype used alike over the batch."""
    shares = (cosines / TEACHER_TEMPERATURE).double().exp().T
    shares /= shares.sum()
    for _ in range(rounds):
        shares /= shares.sum(1, keepdim=True) * len(shares)
        shares /= shares.sum(0, keepdim=True) * shares.shape[1]
    return (shares / shares.sum(0, keepdim=True)).T.float()


def cross_entropy(shares: torch.Tensor, cosines: torch.Tensor) -> torch.Tensor:
    """Return -sum of shares · log softmax(cosines / temperature) for each row (n,)."""
    return -(shares * torch.log_softmax(cosines / STUDENT_TEMPERATURE, -1)).sum(-1)


def loss_of(
    student: Model, teacher: Model, large: list[Views], small: list[Views], hidden: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses of whole views and of hidden patches.

    ``large`` are two views of each picture, ``hidden`` (2n, g, g) says what the student does not see of them.
    """
    both = Views(torch.cat([v.images for v in large]), torch.cat([v.boxes for v in large]))
    with torch.no_grad():
        whole, patches = teacher.network(both.images, both.boxes)
        whole, patches = whole.float(), patches.float()
        first, second = balanced(teacher.view_head(whole)).chunk(2)
        wanted = balanced(teacher.patch_head(patches[hidden])) if hidden.any() else None
    seen, seen_patches = student.network(both.images, both.boxes, hidden)
    one, two = student.view_head(seen).chunk(2)
    terms = [cross_entropy(second, one), cross_entropy(first, two)]
    crops = Views(torch.cat([v.images for v in small]), torch.cat([v.boxes for v in small]))
    for crop in student.view_head(student.network(crops.images, crops.boxes)[0]).chunk(len(small)):
        terms += [cross_entropy(first, crop), cross_entropy(second, crop)]
    patch_loss = seen.new_zeros(())
    if wanted is not None:
        patch_loss = cross_entropy(wanted, student.patch_head(seen_patches[hidden])).mean()
    return torch.stack(terms).mean(), patch_loss


def pictures_of_step(pool: dict[str, torch.Tensor], batch: int, generator: torch.Generator) -> torch.Tensor:
    """Draw a batch (n, 256, 256) float32 of all kinds in their shares."""
    rows = []
    for kind, share in KIND_SHARES.items():
        places = torch.randint(
            len(pool[kind]), (round(share * batch),), generator=generator, device=generator.device
        )
        rows.append(pool[kind][places])
    return torch.cat(rows).float() / 255


def main() -> None:
    """Read the arguments, train, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--steps", type=int, required=True, help="in all; the learning rate falls to 0 over them"
    )
    parser.add_argument("--last", type=int, help="stop after this step; run again to go on")
    parser.add_argument("--minutes", type=float, default=math.inf, help="or after so long")
    parser.add_argument("--batch", type=int, default=48, help="pictures a step (a GPU: 384)")
    parser.add_argument("--dim", type=int, default=NetworkPlan.dim)
    parser.add_argument("--depth", type=int, default=NetworkPlan.depth)
    parser.add_argument("--heads", type=int, default=NetworkPlan.heads)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train(arguments)


def train(arguments: argparse.Namespace) -> None:
    """Train for the steps that are left, or the minutes allowed, and save network and state."""
    device = torch.device(arguments.device)
    torch.manual_seed(arguments.seed)
    with np.load(arguments.pool) as stored:
        pool = {kind: torch.from_numpy(stored[kind]).to(device) for kind in KIND_SHARES}
    plan = NetworkPlan(arguments.dim, arguments.depth, arguments.heads)
    student, teacher = (Model(plan, arguments.batch).to(device) for _ in range(2))
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)
    optimiser = make_optimiser(student)
    state_file = arguments.out.with_suffix(".state")
    step, spent = 0, 0.0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        step, spent = state["step"], state["seconds"]
        for name, part in (("student", student), ("teacher", teacher), ("optimiser", optimiser)):
            part.load_state_dict(state[name])
    n_parameters = sum(p.numel() for p in student.network.parameters())
    print(f"{n_parameters / 1e6:.2f} million parameters, {sum(map(len, pool.values()))} pictures", flush=True)
    begin = time.perf_counter()
    sums = torch.zeros(2, device=device)
    last = arguments.steps if arguments.last is None else arguments.last
    while step < last and time.perf_counter() - begin < 60 * arguments.minutes:
        generator = torch.Generator(device).manual_seed(arguments.seed * 1_000_003 + step)
        pictures = pictures_of_step(pool, arguments.batch, generator)
        sums += train_step(student, teacher, optimiser, pictures, step / arguments.steps, step, generator)
        step += 1
        if step % REPORTED_STEPS == 0:
            views, patches = (sums / REPORTED_STEPS).tolist()
            seconds = spent + time.perf_counter() - begin
            print(f"step {step}: views {views:.3f}, patches {patches:.3f}, {seconds:.0f} s", flush=True)
            sums.zero_()
    parts = {"student": student, "teacher": teacher, "optimiser": optimiser}
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save(state | {"step": step, "seconds": spent + time.perf_counter() - begin}, state_file)
    save_network(teacher.network, arguments.out)
    print(f"wrote {arguments.out} after {step} of {arguments.steps} steps", flush=True)


def make_optimiser(student: Model) -> torch.optim.Optimizer:
    """Return AdamW in which biases and gains do not decay."""
    decayed = [p for p in student.parameters() if p.ndim > 1]
    plain = [p for p in student.parameters() if p.ndim <= 1]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
    )


def train_step(
    student: Model,
    teacher: Model,
    optimiser: torch.optim.Optimizer,
    pictures: torch.Tensor,
    done: float,
    step: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Take one step on pictures (n, 256, 256), when a share ``done`` is over; return both losses (2,)."""
    large = [random_views(pictures, LARGE_PX, LARGE_AREA, generator) for _ in range(2)]
    small = [random_views(pictures, SMALL_PX, SMALL_AREA, generator) for _ in range(N_SMALL)]
    hidden = hidden_patches(2 * len(pictures), LARGE_PX // SmallVit.patch_px, HIDDEN_SHARE, generator)
    ease = 0.5 * (1 + math.cos(math.pi * done))
    for group in optimiser.param_groups:
        group["lr"] = LEARNING_RATE * min((step + 1) / WARM_UP_STEPS, ease)
    # A GPU computes in bfloat16 what may be; losses are float32 everywhere.
    with torch.autocast(pictures.device.type, torch.bfloat16, enabled=pictures.device.type == "cuda"):
        views, patches = loss_of(student, teacher, large, small, hidden)
    optimiser.zero_grad(set_to_none=True)
    (views + patches).backward()
    nn.utils.clip_grad_norm_(student.parameters(), 3.0)
    optimiser.step()
    with torch.no_grad():
        torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 0.008 * ease)
    return torch.stack([views.detach(), patches.detach()])


if __name__ == "__main__":
    main()
