//! The active challenge: movements in a drawn order, told one after the other, and the judge of the frames that follow.
//! A photo cannot turn, and a film cannot know the order. It holds no clock and no memory: times come with the frames as the
//! appliance received them, and the caller says which pictures it has seen before. If this is wrong, a film passes.

use std::collections::BTreeSet;

use crate::Refusal;
use crate::pipeline::{Pose, Seen};

/// LIMIT: frames of one challenge.
pub const FRAMES: usize = 120;
/// LIMIT: instructions of one challenge.
pub const STEPS: usize = 3;
/// LIMIT: between two frames, in milliseconds. In a longer gap another face could be put there.
const GAP_MS: u64 = 1_500;
/// Between two frames at least, in milliseconds: no camera is faster.
const PACE_MS: u64 = 20;
/// A movement and the way back take at least so long, in milliseconds.
const STEP_MS: u64 = 300;

/// From where the first frame looked: a turn to either side, in degrees.
const TURN_DEGREES: f32 = 18.0;
/// A nod.
const NOD_DEGREES: f32 = 12.0;
/// Coming closer, as a factor of the distance between the eyes.
const CLOSER: f32 = 1.25;
/// Back at rest.
const REST: (f32, f32, f32) = (9.0, 8.0, 1.12);
/// How far from the camera's direction the first frame may look.
const START: (f32, f32) = (15.0, 20.0);
/// From frame to frame a face moves by less than this part of its height, and grows or shrinks by less than this factor.
const MOVED: f32 = 0.6;
const GROWN: f32 = 1.5;

/// A movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instruction {
    /// To the person's own left.
    TurnLeft,
    /// To the person's own right.
    TurnRight,
    /// Down and up again.
    Nod,
    /// Towards the camera and back.
    ComeCloser,
}

impl Instruction {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::TurnLeft, Self::TurnRight, Self::Nod, Self::ComeCloser];

    /// The text on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TurnLeft => "turn-left",
            Self::TurnRight => "turn-right",
            Self::Nod => "nod",
            Self::ComeCloser => "come-closer",
        }
    }
}

/// What was asked, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// In this order, with a rest between.
    pub steps: Vec<Instruction>,
    /// No frame is older, in milliseconds of the appliance's clock.
    pub issued_ms: u64,
    /// No frame is younger.
    pub expires_ms: u64,
}

/// One frame.
pub struct Frame {
    /// When the appliance received it, in milliseconds.
    pub at_ms: u64,
    /// What it shows, looking anywhere.
    pub seen: Seen,
}

/// A challenge that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// The frame that looks most straight into the camera: the one to compare with the template.
    pub frame: usize,
}

impl Challenge {
    /// Draws one of the 24 orders of three movements by a random number.
    #[must_use]
    pub fn draw(random: u64, issued_ms: u64, expires_ms: u64) -> Self {
        let (mut left, mut rest) = (Instruction::ALL.to_vec(), random);
        let steps = (0..STEPS)
            .map(|_| {
                let count = left.len() as u64;
                let at = (rest % count) as usize;
                rest /= count;
                left.remove(at)
            })
            .collect();
        Self { steps, issued_ms, expires_ms }
    }

    /// Judges the frames. `alike` is the least cosine of one person's faces; `known` says whether a picture of this digest was
    /// seen in an earlier challenge.
    ///
    /// # Errors
    /// The [`Refusal`] that is found first.
    pub fn judge(
        &self,
        frames: &[Frame],
        alike: f32,
        known: impl Fn(&[u8; 32]) -> bool,
    ) -> Result<Met, Refusal> {
        self.in_time(frames)?;
        let mut pictures = BTreeSet::new();
        if frames.iter().any(|frame| known(&frame.seen.digest) || !pictures.insert(frame.seen.digest)) {
            return Err(Refusal::FramesRepeated);
        }
        one_face(frames, alike)?;
        self.followed(frames)?;
        let aside = |frame: &Frame| frame.seen.pose.yaw.abs() + frame.seen.pose.pitch.abs();
        let straight = frames.iter().enumerate().min_by(|(_, a), (_, b)| aside(a).total_cmp(&aside(b)));
        straight.map(|(frame, _)| Met { frame }).ok_or(Refusal::FramesFew)
    }

    fn in_time(&self, frames: &[Frame]) -> Result<(), Refusal> {
        if frames.len() > FRAMES {
            return Err(Refusal::FramesMany);
        }
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
            return Err(Refusal::FramesFew);
        };
        if frames.len() < 2 * self.steps.len() + 1 {
            return Err(Refusal::FramesFew);
        }
        for (before, after) in frames.iter().zip(frames.iter().skip(1)) {
            let gap = after.at_ms.checked_sub(before.at_ms).ok_or(Refusal::FramesOrder)?;
            if !(PACE_MS..=GAP_MS).contains(&gap) {
                return Err(if gap == 0 { Refusal::FramesOrder } else { Refusal::FramesTiming });
            }
        }
        let took = last.at_ms - first.at_ms;
        if first.at_ms < self.issued_ms
            || last.at_ms > self.expires_ms
            || took < STEP_MS * self.steps.len() as u64
        {
            return Err(Refusal::FramesTiming);
        }
        Ok(())
    }

    /// Rest, movement, rest, movement: anything else than what is asked is another order.
    fn followed(&self, frames: &[Frame]) -> Result<(), Refusal> {
        let first = frames.first().ok_or(Refusal::FramesFew)?;
        if first.seen.pose.yaw.abs() > START.0 || first.seen.pose.pitch.abs() > START.1 {
            return Err(Refusal::InstructionStart);
        }
        let (mut steps, mut reached) = (self.steps.iter(), None);
        for frame in frames {
            match Motion::between(&first.seen, &frame.seen) {
                Motion::Rest => reached = None,
                Motion::OnTheWay => {}
                Motion::Made(made) if reached == Some(made) => {}
                Motion::Made(made) => {
                    // Out of one movement into another, or one too many, or not the one that is next.
                    if reached.is_some() || steps.next() != Some(&made) {
                        return Err(Refusal::InstructionWrong);
                    }
                    reached = Some(made);
                }
            }
        }
        if reached.is_some() || steps.next().is_some() {
            return Err(Refusal::InstructionMissed);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Motion {
    Rest,
    OnTheWay,
    Made(Instruction),
}

impl Motion {
    fn between(first: &Seen, now: &Seen) -> Self {
        let Pose { yaw, pitch, .. } = now.pose;
        let (yaw, pitch) = (yaw - first.pose.yaw, pitch - first.pose.pitch);
        let closer = now.nearness / first.nearness.max(f32::MIN_POSITIVE);
        if yaw >= TURN_DEGREES {
            Self::Made(Instruction::TurnRight)
        } else if yaw <= -TURN_DEGREES {
            Self::Made(Instruction::TurnLeft)
        } else if closer >= CLOSER {
            Self::Made(Instruction::ComeCloser)
        } else if pitch <= -NOD_DEGREES {
            Self::Made(Instruction::Nod)
        } else if yaw.abs() <= REST.0 && pitch.abs() <= REST.1 && closer <= REST.2 {
            Self::Rest
        } else {
            Self::OnTheWay
        }
    }
}

/// Every frame's face is like the first's, and moves as one face does.
fn one_face(frames: &[Frame], alike: f32) -> Result<(), Refusal> {
    let first = frames.first().ok_or(Refusal::FramesFew)?;
    if frames.iter().any(|frame| frame.seen.embedding.cosine(&first.seen.embedding) < alike) {
        return Err(Refusal::FaceChanged);
    }
    for (before, after) in frames.iter().zip(frames.iter().skip(1)) {
        let (before, after) = (before.seen.face.area, after.seen.face.area);
        let ((x, y), (u, v)) = (before.centre(), after.centre());
        let grown = (after.height / before.height).max(before.height / after.height);
        if (u - x).hypot(v - y) > MOVED * before.height.max(after.height) || grown > GROWN {
            return Err(Refusal::FaceChanged);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Area, Embedding, Face, Quality};

    const ALIKE: f32 = 0.335;

    /// A frame by what the judge looks at: yaw, pitch, nearness.
    fn frame(at: usize, yaw: f32, pitch: f32, nearness: f32) -> Frame {
        let side = 200.0 * nearness / 0.1;
        let area = Area { x: 320.0 - side / 2.0, y: 240.0 - side / 2.0, width: side, height: side };
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&(at as u64).to_be_bytes());
        Frame {
            at_ms: 1_000 + 200 * at as u64,
            seen: Seen {
                face: Face { area, score: 0.99 },
                nearness,
                pose: Pose { yaw, pitch, roll: 0.0 },
                quality: Quality { eyes_px: 60.0, sharpness: 100.0, light: 120.0, contrast: 40.0 },
                liveness: 0.9,
                embedding: Embedding::new(vec![1.0, 0.0]).unwrap(),
                digest,
            },
        }
    }

    fn film(steps: &[Instruction]) -> Vec<Frame> {
        let mut poses = vec![(1.0, 0.0, 0.1); 2];
        for step in steps {
            let (yaw, pitch, near) = match step {
                Instruction::TurnLeft => (-30.0, 0.0, 0.09),
                Instruction::TurnRight => (30.0, 0.0, 0.09),
                Instruction::Nod => (0.0, -20.0, 0.1),
                Instruction::ComeCloser => (0.0, 0.0, 0.14),
            };
            poses.extend([(yaw / 2.0, pitch / 2.0, 0.05 + near / 2.0), (yaw, pitch, near)]);
            poses.extend([(yaw / 2.0, pitch / 2.0, 0.05 + near / 2.0), (0.0, 0.0, 0.1)]);
        }
        poses.into_iter().enumerate().map(|(at, (yaw, pitch, near))| frame(at, yaw, pitch, near)).collect()
    }

    fn judged(steps: &[Instruction], frames: &[Frame]) -> Result<Met, Refusal> {
        let challenge = Challenge { steps: steps.to_vec(), issued_ms: 1_000, expires_ms: 21_000 };
        challenge.judge(frames, ALIKE, |_| false)
    }

    /// Would catch a judge that counts movements without their order: each of the 24 films meets its own challenge only.
    #[test]
    fn only_the_drawn_order_is_met() {
        let orders: Vec<_> = (0..24).map(|random| Challenge::draw(random, 0, 0).steps).collect();
        let distinct: BTreeSet<_> = orders.iter().map(|steps| format!("{steps:?}")).collect();
        assert_eq!(distinct.len(), 24, "every order is drawn");
        for asked in &orders {
            for made in &orders {
                let judged = judged(asked, &film(made));
                if asked == made {
                    assert!(judged.is_ok(), "{judged:?}");
                } else {
                    assert_eq!(judged, Err(Refusal::InstructionWrong), "{asked:?} {made:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_followed_to_its_end_is_refused() {
        use Instruction::{ComeCloser, Nod, TurnLeft};
        let steps = [TurnLeft, Nod, ComeCloser];
        assert_eq!(judged(&steps, &film(&steps[..2])), Err(Refusal::InstructionMissed));
        let mut held = film(&steps);
        held.truncate(held.len() - 2);
        assert_eq!(judged(&steps, &held), Err(Refusal::InstructionMissed), "no way back");
        let more = film(&[TurnLeft, Nod, ComeCloser, Nod]);
        assert_eq!(judged(&steps, &more), Err(Refusal::InstructionWrong));
        let twice = film(&[TurnLeft, TurnLeft, Nod, ComeCloser]);
        assert_eq!(judged(&steps, &twice), Err(Refusal::InstructionWrong));
        let still: Vec<_> = (0..12).map(|at| frame(at, 1.0, 0.0, 0.1)).collect();
        assert_eq!(judged(&steps, &still), Err(Refusal::InstructionMissed));
        let mut aside = film(&steps);
        aside[0].seen.pose.yaw = 25.0;
        assert_eq!(judged(&steps, &aside), Err(Refusal::InstructionStart));
    }

    #[test]
    fn times_are_those_of_a_camera() {
        let steps = [Instruction::Nod; 1];
        let with = |change: fn(&mut Vec<Frame>)| {
            let mut frames = film(&steps);
            change(&mut frames);
            judged(&steps, &frames)
        };
        assert!(with(|_| {}).is_ok());
        assert_eq!(with(|frames| frames.swap(2, 3)), Err(Refusal::FramesOrder));
        assert_eq!(with(|frames| frames[3].at_ms = frames[2].at_ms), Err(Refusal::FramesOrder));
        assert_eq!(with(|frames| frames[0].at_ms = 999), Err(Refusal::FramesTiming));
        assert_eq!(with(|frames| frames[5].at_ms = 21_001), Err(Refusal::FramesTiming));
        assert_eq!(
            with(|frames| frames.iter_mut().skip(3).for_each(|frame| frame.at_ms += 1_400)),
            Err(Refusal::FramesTiming),
            "a gap"
        );
        let fast = |frames: &mut Vec<Frame>| {
            frames.iter_mut().enumerate().for_each(|(at, frame)| frame.at_ms = 1_000 + 25 * at as u64);
        };
        assert_eq!(with(fast), Err(Refusal::FramesTiming), "no head is so fast");
        assert_eq!(with(|frames| frames.truncate(2)), Err(Refusal::FramesFew));
        assert_eq!(with(Vec::clear), Err(Refusal::FramesFew));
        let many: Vec<_> = (0..=FRAMES).map(|at| frame(at, 0.0, 0.0, 0.1)).collect();
        assert_eq!(judged(&steps, &many), Err(Refusal::FramesMany));
    }

    #[test]
    fn a_picture_counts_once_ever() {
        let steps = [Instruction::Nod];
        let mut frames = film(&steps);
        frames[4].seen.digest = frames[1].seen.digest;
        assert_eq!(judged(&steps, &frames), Err(Refusal::FramesRepeated));
        let frames = film(&steps);
        let challenge = Challenge { steps: steps.to_vec(), issued_ms: 1_000, expires_ms: 21_000 };
        let seen = frames[3].seen.digest;
        assert_eq!(challenge.judge(&frames, ALIKE, |digest| *digest == seen), Err(Refusal::FramesRepeated));
    }

    #[test]
    fn another_face_on_the_way_is_refused() {
        let steps = [Instruction::Nod];
        let mut frames = film(&steps);
        frames[3].seen.embedding = Embedding::new(vec![0.2, 1.0]).unwrap();
        assert_eq!(judged(&steps, &frames), Err(Refusal::FaceChanged));
        let mut frames = film(&steps);
        frames[3].seen.face.area.x += 200.0;
        assert_eq!(judged(&steps, &frames), Err(Refusal::FaceChanged), "it jumps");
        let mut frames = film(&steps);
        frames[3].seen.face.area.height *= 1.7;
        assert_eq!(judged(&steps, &frames), Err(Refusal::FaceChanged), "it swells");
    }
}
