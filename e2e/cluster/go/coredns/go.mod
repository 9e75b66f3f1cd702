module fastserve.io/e2e/cluster/coredns

go 1.26

tool github.com/coredns/coredns
