//! Links, addresses, routes and nftables straight over netlink
