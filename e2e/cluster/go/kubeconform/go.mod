module fastserve.io/e2e/cluster/kubeconform

go 1.26

tool github.com/yannh/kubeconform/cmd/kubeconform
