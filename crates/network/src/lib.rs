//! Networks: drivers, IPAM, endpoints, published ports, firewall, hosts and resolv.conf
