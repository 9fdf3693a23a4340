// SPDX-FileCopyrightText: 2026 The phase.console authors
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"flag"
	"log"
	"net"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	slicelisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/clientcmd"
)

const zone = ".svc.cluster.local."

// names knows the addresses of Services: their cluster address, or the ready pods' where there is none. Everything
// outside the cluster does not exist: the tests need nothing from there, and a name that is looked up in vain must fail
// at once.
type names struct {
	services listers.ServiceLister
	slices   slicelisters.EndpointSliceLister
}

// addresses returns the IPv4 addresses of a name such as phase-backend.default.svc.cluster.local., and whether it exists.
func (n names) addresses(name string) ([]net.IP, bool) {
	service, inZone := strings.CutSuffix(strings.ToLower(name), zone)
	parts := strings.Split(service, ".")
	if !inZone || len(parts) != 2 {
		return nil, false
	}
	found, err := n.services.Services(parts[1]).Get(parts[0])
	if err != nil {
		return nil, false
	}
	if found.Spec.ClusterIP != core.ClusterIPNone {
		return []net.IP{net.ParseIP(found.Spec.ClusterIP)}, true
	}
	ofService := labels.SelectorFromSet(labels.Set{discovery.LabelServiceName: found.Name})
	slices, err := n.slices.EndpointSlices(found.Namespace).List(ofService)
	if err != nil {
		return nil, true
	}
	var ips []net.IP
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready
			if ready || found.Spec.PublishNotReadyAddresses {
				for _, address := range endpoint.Addresses {
					ips = append(ips, net.ParseIP(address))
				}
			}
		}
	}
	return ips, true
}

func (n names) answer(query []byte) []byte {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil
	}
	question, err := parser.Question()
	if err != nil {
		return nil
	}
	reply := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: header.ID, Response: true, Authoritative: true,
			RecursionDesired: header.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{question},
	}
	ips, exists := n.addresses(question.Name.String())
	if !exists {
		reply.RCode = dnsmessage.RCodeNameError
	} else if question.Type == dnsmessage.TypeA {
		for _, ip := range ips {
			var body dnsmessage.AResource
			copy(body.A[:], ip.To4())
			resource := dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class, TTL: 1}
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: resource, Body: &body})
		}
	}
	packed, err := reply.Pack()
	if err != nil {
		return nil
	}
	return packed
}

func serveNames(arguments []string) {
	flags := flag.NewFlagSet("dns", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", "", "file")
	listen := flags.String("listen", "", "address and port")
	_ = flags.Parse(arguments)
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(config), 10*time.Minute)
	known := names{factory.Core().V1().Services().Lister(), factory.Discovery().V1().EndpointSlices().Lister()}
	factory.Start(nil)
	factory.WaitForCacheSync(nil)
	socket, err := net.ListenPacket("udp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	buffer := make([]byte, 4096)
	for {
		size, from, err := socket.ReadFrom(buffer)
		if err != nil {
			log.Fatal(err)
		}
		if reply := known.answer(buffer[:size]); reply != nil {
			if _, err := socket.WriteTo(reply, from); err != nil {
				log.Print(err)
			}
		}
	}
}
