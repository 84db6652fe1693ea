//! The actions on a stuck participant.

use std::str::FromStr;

use railbus::ChannelName;

/// The action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// It is reported.
    Alarm,
    /// It is reported and evicted: a reader loses its rights, a worker is fenced, a producer
    /// killed.
    Evict,
    /// It is reported, and a reader is evicted: it loses the events that it has not read, and may
    /// come back live. Other roles are not touched.
    SkipToLive,
}

impl Policy {
    /// Whether a participant in this role is evicted.
    pub(crate) fn evicts(self, role: &str) -> bool {
        match self {
            Policy::Alarm => false,
            Policy::Evict => true,
            Policy::SkipToLive => matches!(role, "subscriber" | "tap"),
        }
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Policy, String> {
        match text {
            "alarm" => Ok(Policy::Alarm),
            "evict" => Ok(Policy::Evict),
            "skip-to-live" => Ok(Policy::SkipToLive),
            _ => Err("expected alarm, evict or skip-to-live".to_owned()),
        }
    }
}

/// The policy of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChannelPolicy {
    /// The channel.
    pub(crate) channel: ChannelName,
    /// The action there.
    pub(crate) policy: Policy,
}

impl FromStr for ChannelPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<ChannelPolicy, String> {
        // A channel's name may have an equals sign in it, a policy has none.
        let (channel, policy) =
            text.rsplit_once('=').ok_or("expected BUS/CHANNEL=POLICY, such as demo/ticks=evict")?;
        let channel = channel.parse().map_err(|error: railbus::Error| error.to_string())?;
        Ok(ChannelPolicy { channel, policy: policy.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_mistakes_explained() {
        let parsed: ChannelPolicy = "demo/a=b=evict".parse().expect("a name with an equals sign");
        assert_eq!((parsed.channel.channel(), parsed.policy), ("a=b", Policy::Evict));
        for bad in ["", "evict", "demo=evict", "demo/a=", "demo/a=kill", "/=alarm"] {
            assert!(bad.parse::<ChannelPolicy>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_evict_kills() {
        for role in ["producer", "worker", "subscriber", "tap"] {
            assert!(!Policy::Alarm.evicts(role) && Policy::Evict.evicts(role));
            assert_eq!(Policy::SkipToLive.evicts(role), role == "subscriber" || role == "tap");
        }
    }
}
