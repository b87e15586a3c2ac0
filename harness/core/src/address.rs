//! Which address a board has, by its own word.

use std::net::IpAddr;

/// Every small target's way to name its global IPv4 addresses, one a line.
pub const ADDRESSES: &str = "ip -4 -o addr show scope global";

/// What container engines call their bridges and pairs: addresses that lead nowhere from outside.
const INNER: &[&str] = &["docker", "br-", "balena", "podman", "cni", "veth"];

/// The first address that leads to the board: `2: eth0    inet 10.0.2.15/24 brd …`.
pub fn own_address(said: &str) -> Option<IpAddr> {
    said.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let interface = words.next()?;
        if INNER.iter().any(|inner| interface.starts_with(inner)) {
            return None;
        }
        words.skip_while(|word| *word != "inet").nth(1)?.split('/').next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::own_address;

    #[test]
    fn the_first_address_is_taken_from_what_ip_and_busybox_print() {
        let busybox = "2: eth0    inet 10.0.2.15/24 brd 10.0.2.255 scope global eth0\\       valid\n\
                       3: docker0    inet 172.17.0.1/16 scope global docker0\n";
        assert_eq!(own_address(busybox), Some([10, 0, 2, 15].into()));
        let tunnel = "4: tun0 inet 10.1.0.2 peer 10.1.0.1/32 scope global tun0";
        assert_eq!(own_address(tunnel), Some([10, 1, 0, 2].into()));
        assert_eq!(own_address("sh: ip: not found"), None);
    }

    #[test]
    fn an_engines_bridge_is_no_way_to_the_board() {
        let bridge = "3: docker0    inet 172.17.0.1/16 brd 172.17.255.255 scope global docker0\n";
        assert_eq!(own_address(bridge), None);
        let both = format!("{bridge}4: eth0    inet 10.0.2.15/24 scope global eth0\n");
        assert_eq!(own_address(&both), Some([10, 0, 2, 15].into()));
    }
}
