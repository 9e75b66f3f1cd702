module fastserve.io/e2e/cluster/pause

go 1.26
