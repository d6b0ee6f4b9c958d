#!/bin/bash
# Waits for this node's pod range and writes a ptp network for it: what kindnet does, for clusters without kindnet's image.
# The routes between the nodes of a cluster are set from outside (localkube.kind), which knows all nodes.
until c=$(kubectl --kubeconfig=/etc/kubernetes/kubelet.conf get node "$(hostname)" -o 'jsonpath={.spec.podCIDR}' 2>/dev/null) && [ -n "$c" ]; do sleep .3; done
# pods reach other clusters with the node's address, and each other with their own
iptables -t nat -C POSTROUTING -s "$c" ! -d 10.244.0.0/16 -m comment --comment simple-cni -j MASQUERADE 2>/dev/null ||
  iptables -t nat -A POSTROUTING -s "$c" ! -d 10.244.0.0/16 -m comment --comment simple-cni -j MASQUERADE
cat > /etc/cni/net.d/.10-simple <<J
{"cniVersion":"0.4.0","name":"simple","plugins":[
 {"type":"ptp","ipMasq":false,"ipam":{"type":"host-local","dataDir":"/run/cni-ipam-state","ranges":[[{"subnet":"$c"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
J
mv /etc/cni/net.d/.10-simple /etc/cni/net.d/10-simple.conflist
