use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn public_addresses_may_be_called() {
    for text in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "2000::1",
        "2001:200::1",
        "2001:db7::1",
        "2001:4860:4860::8888",
        "2606:4700:4700::1111",
        "3ffe::1",
        "3fff:1000::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
    ] {
        assert_eq!(AddressPolicy::PublicOnly.check(address(text)), Ok(()), "{text}");
    }
}

#[test]
fn addresses_that_are_not_public_are_refused() {
    for text in [
        // IPv4: this network, private, carrier-grade NAT, loopback, private.
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.0",
        "192.168.255.255",
        // IPv4: protocol assignments, documentation, 6to4 relays, benchmarking.
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        // IPv4: multicast, reserved, broadcast.
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        // IPv6: unspecified, loopback, compatible, mapped, translated.
        "::",
        "::1",
        "::10.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:8.8.8.8",
        // IPv6: NAT64 of a private address, local NAT64, discard, 6to4, Teredo.
        "64:ff9b::10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2002:7f00:1::1",
        "2002:808:808::1",
        "2001::1",
        "2001:1ff:ffff::1",
        // IPv6: benchmarking, ORCHID, documentation.
        "2001:2::1",
        "2001:10::1",
        "2001:db8::1",
        "3fff::1",
        "3fff:fff::1",
        // IPv6: segment routing, unique local, link-local, site-local, multicast, unassigned.
        "5f00::1",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "1fff::1",
        "4000::1",
    ] {
        assert_eq!(AddressPolicy::PublicOnly.check(address(text)), Err(NOT_PUBLIC), "{text}");
        assert_eq!(AddressPolicy::Any.check(address(text)), Ok(()), "{text}");
    }
}

#[test]
fn metadata_services_are_refused_whatever_the_policy() {
    for text in [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd00:c1::a9fe:a9fe",
        "fd20:ce::254",
    ] {
        for policy in [AddressPolicy::Any, AddressPolicy::PublicOnly] {
            assert_eq!(policy.check(address(text)), Err(METADATA), "{text} {policy:?}");
        }
    }
}
