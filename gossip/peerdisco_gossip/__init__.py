"""SWIM membership with Lifeguard over sealed datagrams."""
